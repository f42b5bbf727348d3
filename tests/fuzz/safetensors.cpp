// Safetensors. What is read is written, and read again as the same.
#include "engine/formats/safetensors.h"
#include "fuzz.h"

void nepenthe::tests::fuzz(std::string_view input) {
  read_or_refuse([&] {
    const StateDict state = parse_safetensors(std::as_bytes(std::span(input)), "input");
    const std::vector<std::byte> written = serialize_safetensors(state);
    const StateDict again = parse_safetensors(written, "written");
    require(again.metadata == state.metadata && again.entries.size() == state.entries.size());
    for (const auto& [name, tensor] : state.entries) require(again.find(name)->bytes == tensor.bytes);
    require(serialize_safetensors(again) == written);
  });
}
