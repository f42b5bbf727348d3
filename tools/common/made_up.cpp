#include "tools/common/made_up.h"

#include "engine/base/random.h"

namespace nepenthe {

ImageSet made_up_pictures(Device& device, int count, int classes, int image_size) {
  std::vector<std::uint8_t> pixels(std::size_t(count) * 3072);
  const RandomStream stream{.purpose = purpose::synthetic};
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = static_cast<std::uint8_t>(random_bits(stream, static_cast<std::uint32_t>(i)).x);
  }
  std::vector<std::int32_t> labels(count);
  for (int i = 0; i < count; ++i) labels[i] = i % classes;
  return ImageSet(device, pixels, labels, {{.mean = {0.5f, 0.5f, 0.5f}, .std = {0.25f, 0.25f, 0.25f}}, image_size});
}

}  // namespace nepenthe
