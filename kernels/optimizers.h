// Optimiser steps over a model's flat buffers, in one launch; with PyTorch's definitions.
#pragma once

#include <cstddef>
#include <span>

#include "kernels/exec.h"

namespace nepenthe::kernels {

/// A range [begin, end) of the flat buffers with its learning rate; segments are disjoint.
struct Segment {
  std::size_t begin, end;
  float lr;
};

struct SgdSettings {
  float momentum = 0.9f;
  float dampening = 0.0f;
  float weight_decay = 0.0f;
  bool nesterov = false;
  bool first = false;  // the first step takes the gradient as velocity, undampened
};

/// g = grad + weight_decay·w; v = first ? g : momentum·v + (1 − dampening)·g; w −= lr·(nesterov ? g + momentum·v : v).
/// With momentum 0, w −= lr·g and v is left alone.
void sgd_step(CpuExec& exec, std::span<const Segment> segments, float* w, float* v, const float* grad,
              const SgdSettings& settings);

struct AdamSettings {
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float eps = 1e-8f;
  float weight_decay = 0.0f;
  int step = 1;  // counted from 1, for the bias correction
};

/// Adam (Kingma & Ba 2015), weight decay inside the gradient: m, v the moments,
/// w −= lr·(m / (1 − beta1^step)) / (√(v / (1 − beta2^step)) + eps).
void adam_step(CpuExec& exec, std::span<const Segment> segments, float* w, float* m, float* v, const float* grad,
               const AdamSettings& settings);

}  // namespace nepenthe::kernels
