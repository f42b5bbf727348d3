// What a model says of given samples.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/observer.h"
#include "engine/sample_set.h"

namespace nepenthe {

/// Of given samples, in their order.
struct Predictions {
  int classes = 0;
  std::vector<float> logits;        // (N, classes)
  std::vector<float> losses;        // (N), cross entropy
  std::vector<std::int32_t> ranks;  // (N), of the true class: 0 is right
};

/// Pictures that are evaluated at a time: 512 of 32 px, fewer of larger ones, whose activations take the memory.
int prediction_batch(int image_size);

/// Evaluation mode, no augmentation; `what` is for the progress. Throws Interrupted, and Error where a loss is not
/// finite.
Predictions predict(ModelState& model, const SampleSet& set, const std::vector<std::int32_t>& ids, int batch,
                    const std::string& what, Observer& observer);

}  // namespace nepenthe
