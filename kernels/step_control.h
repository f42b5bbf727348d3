// What changes from step to step, in device memory: so a step that was captured once (kernels/capture.h) is replayed
// without the host, which looks only when a person needs a number.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/base/philox.h"
#include "kernels/exec_fwd.h"
#include "kernels/shapes.h"

namespace nepenthe::kernels {

/// Written by the host at the start of an epoch, moved on by the kernels below. In device memory.
struct StepControl {
  static constexpr int parameter_groups = 2;

  RandomStream stream{};                     // of the augmentation
  const std::int32_t* order = nullptr;       // the epoch's ids, in device memory
  std::int64_t offset = 0;                   // where in it the next batch begins
  float learning_rates[parameter_groups]{};  // of the optimiser's segments
  std::int64_t steps = 0;                    // optimiser steps, the one whose loss was counted last included
  double loss_sum = 0;                       // of all samples of the epoch so far
  std::int64_t seen = 0, right = 0;          // samples, and those whose true class ranked first
  std::int64_t diverged_at = 0;              // the first of `steps` whose loss was not finite; 0: none
  double diverged_loss = 0;                  // and the mean loss of its batch
};

/// After a training batch's forward pass, before its optimiser step: adds its losses and ranks to the totals and moves
/// offset by `rows` and steps by 1. From the first loss that is not finite on, optimiser steps do nothing and the
/// totals stay.
struct TallyBatch {
  int rows;
  StepControl* control;
  const float* losses;        // (rows)
  const std::int32_t* ranks;  // (rows)
};
void tally_batch(CpuExec& exec, const TallyBatch& operands);
void tally_batch(CudaExec& exec, const TallyBatch& operands);

/// Where the predictions of all samples go.
struct PredictionArrays {
  float* logits;        // (samples, classes)
  float* losses;        // (samples)
  std::int32_t* ranks;  // (samples)
};

/// After an evaluated batch: copies it to rows offset … of `all`, adds to the totals and moves offset by shape.rows.
/// Throws std::invalid_argument for an empty batch.
struct StorePredictions {
  LogitsShape shape;  // of the batch
  StepControl* control;
  PredictionArrays all;
  const float* logits;        // (rows, classes)
  const float* losses;        // (rows)
  const std::int32_t* ranks;  // (rows)
};
void store_predictions(CpuExec& exec, const StorePredictions& operands);
void store_predictions(CudaExec& exec, const StorePredictions& operands);

}  // namespace nepenthe::kernels
