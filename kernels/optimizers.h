// Optimiser steps over a model's flat buffers, in one launch; with PyTorch's definitions.
#pragma once

#include <cstddef>
#include <span>

#include "kernels/exec.h"
#include "kernels/step_control.h"

namespace nepenthe::kernels {

/// A range [begin, end) of the flat buffers; the i-th has learning rate control->learning_rates[i]. Segments are
/// disjoint and at most StepControl::parameter_groups.
struct Segment {
  std::size_t begin, end;
};

struct SgdSettings {
  float momentum = 0.9f;
  float dampening = 0.0f;
  float weight_decay = 0.0f;
  bool nesterov = false;
};

/// g = grad + weight_decay·w; v = first ? g : momentum·v + (1 − dampening)·g; w −= lr·(nesterov ? g + momentum·v : v).
/// The step numbered control->steps, counted from 1; the first does not read v. With momentum 0, w −= lr·g and v is
/// left alone. Nothing happens once a loss has not been finite (control->diverged_at).
void sgd_step(CpuExec& exec, std::span<const Segment> segments, const StepControl* control, float* w, float* v,
              const float* grad, const SgdSettings& settings);

struct AdamSettings {
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float eps = 1e-8f;
  float weight_decay = 0.0f;
};

/// Adam (Kingma & Ba 2015), weight decay inside the gradient: m, v the moments,
/// w −= lr·(m / (1 − beta1^step)) / (√(v / (1 − beta2^step)) + eps), step = control->steps. As above where a loss has
/// not been finite.
void adam_step(CpuExec& exec, std::span<const Segment> segments, const StepControl* control, float* w, float* m,
               float* v, const float* grad, const AdamSettings& settings);

#if defined(NEPENTHE_CUDA)
void sgd_step(CudaExec& exec, std::span<const Segment> segments, const StepControl* control, float* w, float* v,
              const float* grad, const SgdSettings& settings);
void adam_step(CudaExec& exec, std::span<const Segment> segments, const StepControl* control, float* w, float* m,
               float* v, const float* grad, const AdamSettings& settings);
#endif

}  // namespace nepenthe::kernels
