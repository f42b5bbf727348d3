#include "models/weights.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/base/error.h"
#include "engine/formats/torch_checkpoint.h"

namespace nepenthe {
namespace {

void load(const std::filesystem::path& file, ModelState& model, const StateDict& state) {
  try {
    model.load_state_dict(state);
  } catch (const Error& error) {
    throw Error(fmt::format("{}: not weights of {} with {} classes: {}", file.string(), model.architecture().name(),
                            model.architecture().classes(), error.what()));
  }
}

}  // namespace

void load_weights(const std::filesystem::path& file, ModelState& model) { load(file, model, read_weights(file)); }

void load_start_weights(const std::filesystem::path& file, ModelState& model) {
  StateDict state = read_weights(file);
  const auto of_another_shape = [&](const ParameterSpec& spec) {
    const HostTensor* tensor = state.find(spec.name);
    return spec.group == ParameterGroup::head && tensor != nullptr && tensor->shape != spec.shape;
  };
  if (std::ranges::any_of(model.layout().specs(), of_another_shape)) {
    const StateDict fresh = model.state_dict();
    for (const ParameterSpec& spec : model.layout().specs()) {
      if (spec.group != ParameterGroup::head) continue;
      for (auto& [tensor_name, tensor] : state.entries) {
        if (tensor_name == spec.name) tensor = *fresh.find(spec.name);
      }
    }
  }
  load(file, model, state);
}

}  // namespace nepenthe
