#include "models/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/formats/torch_checkpoint.h"
#include "models/registry.h"

namespace nepenthe {
namespace {

/// How many classes a state's head has, where it is the architecture's but for their number, which may be the same.
std::optional<std::int64_t> classes_of_head(const StateDict& state, const Architecture& architecture) {
  for (const ParameterSpec& spec : architecture.layout().specs()) {
    if (spec.group != ParameterGroup::head || spec.shape[0] != architecture.classes()) continue;
    const HostTensor* tensor = state.find(spec.name);
    if (tensor == nullptr || tensor->shape.size() != spec.shape.size()) continue;
    if (std::equal(spec.shape.begin() + 1, spec.shape.end(), tensor->shape.begin() + 1)) return tensor->shape[0];
  }
  return std::nullopt;
}

std::optional<std::int64_t> classes_of_replaced_head(const StateDict& state, const Architecture& architecture) {
  const auto classes = classes_of_head(state, architecture);
  return classes == architecture.classes() ? std::nullopt : classes;
}

/// The part of all names up to the first dot, which is none of the layout's; or else nothing.
std::string common_part(const StateDict& state, const ParameterLayout& layout) {
  if (state.entries.empty()) return "";
  const std::string& first = state.entries.front().first;
  const std::string part = first.substr(0, first.find('.') + 1);  // nothing where there is no dot
  const auto begins = [&](const auto& named) { return named.starts_with(part); };
  const bool common = std::ranges::all_of(
      state.entries, begins, [](const auto& entry) -> const auto& { return entry.first; });
  return common && std::ranges::none_of(layout.specs(), begins, &ParameterSpec::name) ? part : "";
}

}  // namespace

std::string unwrap(StateDict& state, const ParameterLayout& layout) {
  std::string prefix;
  while (true) {
    std::erase_if(state.entries, [](const auto& entry) { return entry.first == "n_averaged"; });
    const std::string part = common_part(state, layout);
    if (part.empty()) return prefix;
    prefix += part;
    for (auto& [tensor_name, tensor] : state.entries) tensor_name.erase(0, part.size());
  }
}

void load_weights(const std::filesystem::path& file, StateDict state, ModelState& model) {
  const std::string prefix = unwrap(state, model.layout());
  try {
    model.load_state_dict(state);
  } catch (const Error& error) {
    const std::string names = prefix.empty() ? "" : fmt::format(" (names without \"{}\")", printable(prefix));
    throw Error(fmt::format("{}: cannot be weights of {} with {} classes{}: {}", file.string(),
                            model.architecture().name(), model.architecture().classes(), names, error.what()));
  }
}

void load_weights(const std::filesystem::path& file, ModelState& model) {
  load_weights(file, read_weights(file), model);
}

void load_start_weights(const std::filesystem::path& file, ModelState& model) {
  StateDict state = read_weights(file);
  unwrap(state, model.layout());
  if (classes_of_replaced_head(state, model.architecture())) {
    const StateDict fresh = model.state_dict();
    for (const ParameterSpec& spec : model.layout().specs()) {
      if (spec.group != ParameterGroup::head) continue;
      for (auto& [tensor_name, tensor] : state.entries) {
        if (tensor_name == spec.name) tensor = *fresh.find(spec.name);
      }
    }
  }
  load_weights(file, std::move(state), model);
}

std::optional<std::int64_t> classes_of_replaced_head(const std::filesystem::path& file,
                                                     const Architecture& architecture) {
  StateDict state = read_weights(file);
  unwrap(state, architecture.layout());
  return classes_of_replaced_head(state, architecture);
}

std::vector<Fit> fitting_architectures(const StateDict& state) {
  std::vector<Fit> fits;
  for (const std::string& name : model_names()) {
    StateDict shapes;  // without the bytes
    for (const auto& [tensor_name, tensor] : state.entries) {
      shapes.entries.emplace_back(tensor_name, HostTensor{tensor.dtype, tensor.shape, {}});
    }
    const auto any_classes = make_architecture(name, 2);
    const std::string prefix = unwrap(shapes, any_classes->layout());
    const std::int64_t classes = classes_of_head(shapes, *any_classes).value_or(0);
    if (classes < 1 || classes > std::numeric_limits<int>::max()) continue;
    const auto architecture = make_architecture(name, static_cast<int>(classes));
    if (misfit(architecture->layout(), shapes).empty()) fits.push_back({name, static_cast<int>(classes), prefix});
  }
  return fits;
}

}  // namespace nepenthe
