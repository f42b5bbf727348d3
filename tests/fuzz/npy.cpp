// An array of NumPy's.
#include "engine/formats/npy.h"
#include "fuzz.h"

void nepenthe::tests::fuzz(std::string_view input) {
  read_or_refuse([&] {
    const HostTensor array = parse_npy(std::as_bytes(std::span(input)), "input");
    require(array.to_f64().size() == static_cast<std::size_t>(array.count()));
  });
}
