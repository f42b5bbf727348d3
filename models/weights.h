// Weights of one's own or of others, into a model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "engine/model_state.h"

namespace nepenthe {

/// Loads a .safetensors file or a PyTorch zip checkpoint, recognised by content. Throws Error naming the file, and the
/// tensor that is missing, left over, of another shape or not finite; the model is unchanged then.
void load_weights(const std::filesystem::path& file, ModelState& model);

/// The same of what has been read from `file`.
void load_weights(const std::filesystem::path& file, const StateDict& state, ModelState& model);

/// The same for weights to start from, as in transfer: where the head has another number of classes, the model
/// keeps its own.
void load_start_weights(const std::filesystem::path& file, ModelState& model);

/// How many classes the head of weights to start from has, where the architecture has another number of them and would
/// keep its own head; empty where it would take theirs, or where nothing in the file is such a head.
std::optional<std::int64_t> classes_of_replaced_head(const std::filesystem::path& file,
                                                     const Architecture& architecture);

}  // namespace nepenthe
