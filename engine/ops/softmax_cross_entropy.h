#pragma once

#include <cstdint>

#include "engine/tape.h"

namespace nepenthe::ops {

/// What a batch's logits are worth, each sample by itself, on the device.
struct SampleScores {
  Tensor losses;                    // (N, 1, 1, 1): −log softmax(logits)[label]
  DeviceArray<std::int32_t> ranks;  // (N), of the true class: 0 is right
};

/// Scores of logits (N, 1, 1, classes), with labels (N) on the device, which must outlive the tape. An end of the
/// network: its backward starts from the gradient `weight` of the mean loss, and is none where that is 0.
SampleScores softmax_cross_entropy(Pass& pass, const Variable& logits, const std::int32_t* labels, double weight = 1);

}  // namespace nepenthe::ops
