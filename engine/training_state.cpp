#include "engine/training_state.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "engine/base/error.h"
#include "engine/formats/content_digest.h"
#include "engine/formats/safetensors.h"

namespace nepenthe {
namespace {

constexpr const char* position_name = "position";

}  // namespace

void save_training_state(const std::filesystem::path& file, const std::string& identity, const ModelState& model,
                         const Optimizer& optimizer, const TrainingPosition& position) {
  StateDict state = model.state_dict();
  optimizer.save(state, position.steps);
  const std::array<std::int64_t, 2> epoch_and_step{position.epoch, position.step};
  state.add(position_name, HostTensor::from({2}, epoch_and_step));
  state.metadata["identity"] = identity;
  write_with_digest(file, std::move(state));
}

TrainingPosition load_training_state(const std::filesystem::path& file, const std::string& identity, int epochs,
                                     ModelState& model, Optimizer& optimizer) {
  if (file.empty() || !std::filesystem::exists(file)) return {};
  const StateDict state = read_with_digest(file, true);
  const auto its_identity = state.metadata.find("identity");
  if (its_identity == state.metadata.end() || its_identity->second != identity) return {};
  try {
    const HostTensor* tensor_of_position = state.find(position_name);
    if (tensor_of_position == nullptr || tensor_of_position->count() != 2) throw Error("no training state");
    const auto position = tensor_of_position->i64();
    if (position[0] < 0 || position[0] >= epochs || position[1] < 0) {
      throw Error(fmt::format("the training state stands at epoch {} of {}, step {}", position[0] + 1, epochs,
                              position[1] + 1));
    }
    StateDict weights;
    for (const auto& [tensor_name, tensor] : state.entries) {
      if (!tensor_name.starts_with("optimizer.") && tensor_name != position_name) weights.add(tensor_name, tensor);
    }
    model.load_state_dict(weights);
    return {
        .epoch = static_cast<int>(position[0]), .step = static_cast<int>(position[1]), .steps = optimizer.load(state)};
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", file.string(), error.what()));
  }
}

bool is_training_state(const std::filesystem::path& file, const std::string& identity) {
  try {
    return read_safetensors_metadata(file)["identity"] == identity;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace nepenthe
