#include "models/weights.h"

#include <fmt/format.h>

#include "engine/base/error.h"
#include "engine/formats/torch_checkpoint.h"

namespace nepenthe {
namespace {

void load(const std::filesystem::path& file, Network& network, const StateDict& state) {
  try {
    network.parameters().load_state_dict(state);
  } catch (const Error& error) {
    throw Error(fmt::format("{}: not weights of {} with {} classes: {}", file.string(), network.architecture(),
                            network.classes(), error.what()));
  }
}

}  // namespace

void load_weights(const std::filesystem::path& file, Network& network) { load(file, network, read_weights(file)); }

void load_start_weights(const std::filesystem::path& file, Network& network) {
  StateDict state = read_weights(file);
  const StateDict fresh = network.parameters().state_dict();
  const HostTensor* bias = state.find("fc.bias");
  const bool same_classes = bias != nullptr && bias->shape == fresh.find("fc.bias")->shape;
  if (bias != nullptr && !same_classes) {
    for (auto& [tensor_name, tensor] : state.entries) {
      if (tensor_name.starts_with("fc.")) {
        if (const HostTensor* own = fresh.find(tensor_name)) tensor = *own;
      }
    }
  }
  load(file, network, state);
}

}  // namespace nepenthe
