// A picture, and the square that a network sees of it. Small ones: what they claim costs time.
#include "engine/formats/pictures.h"
#include "fuzz.h"

void nepenthe::tests::fuzz(std::string_view input) {
  read_or_refuse([&] {
    const Picture picture = parse_picture(std::as_bytes(std::span(input)), "input", 1 << 14);
    require(picture.rgb.size() == std::size_t(picture.width) * std::size_t(picture.height) * 3);
    require(centre_square(picture, 32).rgb.size() == 32 * 32 * 3);
  });
}
