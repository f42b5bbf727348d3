#include "models/weights.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/base/error.h"
#include "engine/formats/torch_checkpoint.h"

namespace nepenthe {
namespace {

std::optional<std::int64_t> classes_of_replaced_head(const StateDict& state, const ParameterLayout& layout) {
  for (const ParameterSpec& spec : layout.specs()) {
    const HostTensor* tensor = state.find(spec.name);
    if (spec.group != ParameterGroup::head || tensor == nullptr || tensor->shape.size() != spec.shape.size()) continue;
    const bool same_but_for_classes = std::equal(spec.shape.begin() + 1, spec.shape.end(), tensor->shape.begin() + 1);
    if (same_but_for_classes && tensor->shape[0] != spec.shape[0]) return tensor->shape[0];
  }
  return std::nullopt;
}

}  // namespace

void load_weights(const std::filesystem::path& file, const StateDict& state, ModelState& model) {
  try {
    model.load_state_dict(state);
  } catch (const Error& error) {
    throw Error(fmt::format("{}: cannot be weights of {} with {} classes: {}", file.string(),
                            model.architecture().name(), model.architecture().classes(), error.what()));
  }
}

void load_weights(const std::filesystem::path& file, ModelState& model) {
  load_weights(file, read_weights(file), model);
}

void load_start_weights(const std::filesystem::path& file, ModelState& model) {
  StateDict state = read_weights(file);
  if (classes_of_replaced_head(state, model.layout())) {
    const StateDict fresh = model.state_dict();
    for (const ParameterSpec& spec : model.layout().specs()) {
      if (spec.group != ParameterGroup::head) continue;
      for (auto& [tensor_name, tensor] : state.entries) {
        if (tensor_name == spec.name) tensor = *fresh.find(spec.name);
      }
    }
  }
  load_weights(file, state, model);
}

std::optional<std::int64_t> classes_of_replaced_head(const std::filesystem::path& file,
                                                     const Architecture& architecture) {
  return classes_of_replaced_head(read_weights(file), architecture.layout());
}

}  // namespace nepenthe
