// Weights of one's own or of others, into a network.
#pragma once

#include <filesystem>

#include "engine/network.h"

namespace nepenthe {

/// Loads a .safetensors file or a PyTorch zip checkpoint, recognised by content. Throws Error naming the file, and the
/// tensor that is missing, left over or of another shape; the network is unchanged then.
void load_weights(const std::filesystem::path& file, Network& network);

/// The same for weights to start from, as in transfer: where the last layer has another number of classes, the network
/// keeps its own.
void load_start_weights(const std::filesystem::path& file, Network& network);

}  // namespace nepenthe
