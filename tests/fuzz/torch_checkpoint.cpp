// A whole checkpoint. Checksums hide most damage to members; the target pickle looks behind them.
#include "engine/formats/torch_checkpoint.h"
#include "fuzz.h"

void nepenthe::tests::fuzz(std::string_view input) {
  read_or_refuse([&] {
    const StateDict state = parse_torch_checkpoint(std::as_bytes(std::span(input)), "input").state;
    for (const auto& [name, tensor] : state.entries) require(tensor.count() >= 0);
  });
}
