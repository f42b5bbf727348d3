// Where a training step's time goes on the device.
#pragma once

#include "engine/objective.h"
#include "kernels/profile.h"

namespace nepenthe {

/// By op, of one step on `recipe.batch` of the samples, issued kernel by kernel behind captured ones, which keep the
/// device busy meanwhile. Changes the model. Empty on the CPU. Throws std::invalid_argument for less than 3 batches.
kernels::RangeTimes profile_step(ModelState& model, const SampleSet& samples, const std::vector<std::int32_t>& ids,
                                 const Recipe& recipe);

}  // namespace nepenthe
