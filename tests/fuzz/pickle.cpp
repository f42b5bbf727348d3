// The pickle of a checkpoint whose archive is sound.
#include "engine/formats/torch_checkpoint.h"
#include "fuzz.h"
#include "zip.h"

void nepenthe::tests::fuzz(std::string_view input) {
  const std::string file = zip({{.name = "a/data.pkl", .data = std::string(input)},
                                {.name = "a/data/0", .data = std::string(24, 'x')},
                                {.name = "a/data/1", .data = std::string(24, 'y')}});
  read_or_refuse([&] {
    const StateDict state = parse_torch_checkpoint(std::as_bytes(std::span(file)), "input").state;
    require(!state.entries.empty());
    for (const auto& [name, tensor] : state.entries) require(tensor.count() >= 0);
  });
}
