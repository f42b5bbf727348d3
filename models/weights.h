// Weights of one's own or of others, into a model.
#pragma once

#include <filesystem>

#include "engine/model_state.h"

namespace nepenthe {

/// Loads a .safetensors file or a PyTorch zip checkpoint, recognised by content. Throws Error naming the file, and the
/// tensor that is missing, left over or of another shape; the model is unchanged then.
void load_weights(const std::filesystem::path& file, ModelState& model);

/// The same for weights to start from, as in transfer: where the head has another number of classes, the model
/// keeps its own.
void load_start_weights(const std::filesystem::path& file, ModelState& model);

}  // namespace nepenthe
