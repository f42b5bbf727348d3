// Optimiser steps over a model's flat buffers, in one launch; with PyTorch's definitions.
//
// Elements outside the segments stay as they are, and so do those whose mask is 0: weights and moments. Nothing happens
// once a loss has not been finite (control->diverged_at). Throws std::invalid_argument for more segments than learning
// rates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/bf16.h"
#include "kernels/exec_fwd.h"
#include "kernels/step_control.h"

namespace nepenthe::kernels {

/// A range [begin, end) of the flat buffers; the i-th has learning rate control->learning_rates[i]. Segments are
/// disjoint and at most StepControl::parameter_groups.
struct Segment {
  std::size_t begin, end;
};

/// The gradient of each element: fp32, or where `is_narrow` says so bf16, which is the same number in fp32.
struct Gradients {
  static constexpr std::size_t stretch = 16;

  const float* wide;
  const bf16* narrow = nullptr;             // null: all are in `wide`; on CUDA alone
  const std::uint8_t* is_narrow = nullptr;  // of each stretch of elements: 0 where theirs are in `wide`
};

struct SgdSettings {
  float momentum = 0.9f;
  float dampening = 0.0f;
  float weight_decay = 0.0f;
  bool nesterov = false;
};

/// g = grad + weight_decay·w; v = first ? g : momentum·v + (1 − dampening)·g; w −= lr·(nesterov ? g + momentum·v : v).
/// The step numbered control->steps, counted from 1; the first does not use v. With momentum 0, w −= lr·g and v is
/// left alone.
struct SgdStep {
  std::span<const Segment> segments;
  float* w;
  bf16* rounded = nullptr;  // not null: w rounded to nearest, kept true
  float* v;
  Gradients grad;
  const std::uint8_t* mask;  // of each element of w, aligned to 4 bytes; null: all are stepped
  const StepControl* control;
  SgdSettings settings;
};
void sgd_step(CpuExec& exec, const SgdStep& operands);
void sgd_step(CudaExec& exec, const SgdStep& operands);

struct AdamSettings {
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float eps = 1e-8f;
  float weight_decay = 0.0f;
};

/// Adam (Kingma & Ba 2015), weight decay inside the gradient:
/// w −= lr·(m / (1 − beta1^step)) / (√(v / (1 − beta2^step)) + eps), step = control->steps.
struct AdamStep {
  std::span<const Segment> segments;
  float* w;
  bf16* rounded = nullptr;  // as above
  float *m, *v;             // the moments
  Gradients grad;
  const std::uint8_t* mask;  // as above
  const StepControl* control;
  AdamSettings settings;
};
void adam_step(CpuExec& exec, const AdamStep& operands);
void adam_step(CudaExec& exec, const AdamStep& operands);

/// What both backends refuse.
void check(std::span<const Segment> segments);

}  // namespace nepenthe::kernels
