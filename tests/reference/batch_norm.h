// Scalar batch normalisation with what is fused into it.
#pragma once

#include <cmath>

#include "kernels/shapes.h"
#include "reference/number.h"

namespace nepenthe::reference {

template <class T>
struct BatchNormOutputs {
  std::vector<T> y, mean, var, rstd;  // var is the biased one
};

/// y = relu?(gamma·(x − mean)·rstd + beta [+ residual]) for given statistics (C).
template <class T>
std::vector<T> batch_norm_apply(const kernels::BatchNormShape& s, const std::vector<T>& x,
                                const std::vector<T>& residual, const std::vector<T>& gamma, const std::vector<T>& beta,
                                const std::vector<T>& mean, const std::vector<T>& rstd) {
  std::vector<T> y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t c = i % std::size_t(s.image.c);
    T v = gamma[c] * (x[i] - mean[c]) * rstd[c] + beta[c];
    if (s.add) v += residual[i];
    y[i] = s.relu && real_part(v) <= 0 ? T(0) : v;
  }
  return y;
}

template <class T>
BatchNormOutputs<T> batch_norm_forward(const kernels::BatchNormShape& s, const std::vector<T>& x,
                                       const std::vector<T>& residual, const std::vector<T>& gamma,
                                       const std::vector<T>& beta) {
  const auto channels = std::size_t(s.image.c);
  const auto count = static_cast<double>(x.size() / channels);
  BatchNormOutputs<T> out{{}, std::vector<T>(channels), std::vector<T>(channels), std::vector<T>(channels)};
  for (std::size_t i = 0; i < x.size(); ++i) out.mean[i % channels] += x[i] / count;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const T deviation = x[i] - out.mean[i % channels];
    out.var[i % channels] += deviation * deviation / count;
  }
  for (std::size_t c = 0; c < channels; ++c) out.rstd[c] = 1.0 / std::sqrt(out.var[c] + double{s.eps});
  out.y = batch_norm_apply(s, x, residual, gamma, beta, out.mean, out.rstd);
  return out;
}

template <class T>
struct BatchNormGradients {
  std::vector<T> dx, dresidual, dgamma, dbeta;
};

/// `y` decides where the ReLU lets gradients pass.
template <class T>
BatchNormGradients<T> batch_norm_backward(const kernels::BatchNormShape& s, const std::vector<T>& dy,
                                          const std::vector<T>& x, const std::vector<T>& y, const std::vector<T>& gamma,
                                          const std::vector<T>& mean, const std::vector<T>& rstd) {
  const auto channels = std::size_t(s.image.c);
  const auto count = static_cast<double>(x.size() / channels);
  BatchNormGradients<T> out{std::vector<T>(x.size()), std::vector<T>(x.size()), std::vector<T>(channels),
                            std::vector<T>(channels)};
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t c = i % channels;
    const T g = s.relu && real_part(y[i]) <= 0 ? T(0) : dy[i];
    out.dresidual[i] = g;
    out.dbeta[c] += g;
    out.dgamma[c] += g * (x[i] - mean[c]) * rstd[c];
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t c = i % channels;
    const T normal = (x[i] - mean[c]) * rstd[c];
    out.dx[i] = gamma[c] * rstd[c] * (out.dresidual[i] - (out.dbeta[c] + normal * out.dgamma[c]) / count);
  }
  return out;
}

}  // namespace nepenthe::reference
