// Scalar optimiser steps, one weight at a time, after PyTorch's documentation.
#pragma once

#include <cmath>

#include "kernels/optimizers.h"

namespace nepenthe::reference {

/// `first`: the first step takes the gradient as velocity, undampened.
inline void sgd_step(const kernels::SgdSettings& s, bool first, double lr, double& w, double& v, double grad) {
  double g = grad + double{s.weight_decay} * w;
  if (s.momentum != 0) {
    v = first ? g : double{s.momentum} * v + (1 - double{s.dampening}) * g;
    g = s.nesterov ? g + double{s.momentum} * v : v;
  }
  w -= lr * g;
}

/// `step` is counted from 1.
inline void adam_step(const kernels::AdamSettings& s, int step, double lr, double& w, double& m, double& v,
                      double grad) {
  const double beta1 = s.beta1, beta2 = s.beta2;
  const double g = grad + double{s.weight_decay} * w;
  m = beta1 * m + (1 - beta1) * g;
  v = beta2 * v + (1 - beta2) * g * g;
  const double m_hat = m / (1 - std::pow(beta1, step)), v_hat = v / (1 - std::pow(beta2, step));
  w -= lr * m_hat / (std::sqrt(v_hat) + double{s.eps});
}

}  // namespace nepenthe::reference
