#pragma once

#include <cstdint>

#include "engine/tape.h"

namespace nepenthe::ops {

/// The mean over the batch of −log softmax(logits (N, 1, 1, classes))[label], labels (N) on the device, which must
/// outlive the tape. The end of a graph: its backward starts from the gradient 1. Returns the loss on the host.
float softmax_cross_entropy(Graph& graph, const Variable& logits, const std::int32_t* labels);

}  // namespace nepenthe::ops
