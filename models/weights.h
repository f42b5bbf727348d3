// Weights of one's own or of others, into a model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/model_state.h"

namespace nepenthe {

/// Takes off what wrappers put before every name of a state ("module.", "_orig_mod.", "model." …), one part up to a dot
/// after the other, as long as no name of the layout begins with it, and leaves out the `n_averaged` of PyTorch's
/// AveragedModel. Returns all of it: "module._orig_mod.".
std::string unwrap(StateDict& state, const ParameterLayout& layout);

/// Loads a .safetensors file or a PyTorch zip checkpoint, recognised by content, its names unwrapped. Throws Error
/// naming the file, and every tensor that is missing, left over, of another shape or type, or one that is not finite;
/// the model is unchanged then.
void load_weights(const std::filesystem::path& file, ModelState& model);

/// The same of what has been read from `file`.
void load_weights(const std::filesystem::path& file, StateDict state, ModelState& model);

/// The same for weights to start from, as in transfer: where the head has another number of classes, the model
/// keeps its own.
void load_start_weights(const std::filesystem::path& file, ModelState& model);

/// How many classes the head of weights to start from has, where the architecture has another number of them and would
/// keep its own head; empty where it would take theirs, or where nothing in the file is such a head.
std::optional<std::int64_t> classes_of_replaced_head(const std::filesystem::path& file,
                                                     const Architecture& architecture);

/// An architecture of the registry that a state fits, with its number of classes and what unwrap() takes off its names.
struct Fit {
  std::string architecture;
  int classes;
  std::string prefix;
};
std::vector<Fit> fitting_architectures(const StateDict& state);

}  // namespace nepenthe
