// What changes from step to step, in device memory: so a step that was recorded once (kernels/capture.h) is replayed
// without the host, which looks only when a person needs a number.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/exec.h"
#include "kernels/shapes.h"

namespace nepenthe::kernels {

/// Written by the host at the start of an epoch, moved on by the kernels below. In device memory.
struct StepControl {
  static constexpr int parameter_groups = 2;

  std::uint32_t epoch = 0;                   // of the augmentation's random stream
  std::uint32_t offset = 0;                  // where the next batch begins in the epoch's order
  float learning_rates[parameter_groups]{};  // of the optimiser's segments
  std::int64_t steps = 0;                    // optimiser steps, the one whose loss was recorded last included
  double loss_sum = 0;                       // of all samples of the epoch so far
  std::int64_t seen = 0, right = 0;          // samples, and those whose true class ranked first
  std::int64_t diverged_at = 0;              // the first of `steps` whose loss was not finite; 0: none
  double diverged_loss = 0;                  // and the mean loss of its batch
};

/// After a training batch's forward pass, before its optimiser step: adds its losses and ranks (rows) to the totals and
/// moves offset by `rows` and steps by 1. From the first loss that is not finite on, optimiser steps do nothing and the
/// totals stay.
void tally_batch(CpuExec& exec, StepControl* control, int rows, const float* losses, const std::int32_t* ranks);

/// Where the predictions of all samples go: logits (samples, classes), losses and ranks (samples).
struct PredictionArrays {
  float* logits;
  float* losses;
  std::int32_t* ranks;
};

/// After an evaluated batch: copies its logits (rows, classes), losses and ranks to rows offset … of `all`, adds to the
/// totals and moves offset by shape.rows.
void store_predictions(CpuExec& exec, StepControl* control, const LogitsShape& shape, const PredictionArrays& all,
                       const float* logits, const float* losses, const std::int32_t* ranks);

#if defined(NEPENTHE_CUDA)
void tally_batch(CudaExec& exec, StepControl* control, int rows, const float* losses, const std::int32_t* ranks);
void store_predictions(CudaExec& exec, StepControl* control, const LogitsShape& shape, const PredictionArrays& all,
                       const float* logits, const float* losses, const std::int32_t* ranks);
#endif

}  // namespace nepenthe::kernels
