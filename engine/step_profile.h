// Where a step's time goes on the device.
#pragma once

#include "engine/objective.h"
#include "kernels/profile.h"

namespace nepenthe {

/// By op, of one training step on `recipe.batch` of the samples; on CUDA issued kernel by kernel behind captured ones,
/// which keep the device busy meanwhile. Changes the model. Throws std::invalid_argument for less than a batch, on CUDA
/// for less than 3.
kernels::RangeTimes profile_training_step(ModelState& model, const SampleSet& samples,
                                          const std::vector<std::int32_t>& ids, const Recipe& recipe);

/// By op, of an evaluation of the samples in batches. Empty on CUDA, where it is captured.
kernels::RangeTimes profile_evaluation(ModelState& model, const SampleSet& samples,
                                       const std::vector<std::int32_t>& ids, int batch);

}  // namespace nepenthe
