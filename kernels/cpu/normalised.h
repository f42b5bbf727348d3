// What a normalised value is, and how a convolution hands out its results, normalised or not. Whoever computes a value
// anew does the same operations, so that it has the same bits.
#pragma once

#include <cmath>
#include <cstddef>

#include "kernels/conv2d.h"
#include "kernels/cpu/isa.h"

namespace nepenthe::kernels {

template <class Vector>
NEPENTHE_INLINE Vector rectified(const Vector& v) {
  return v < 0 ? Vector{} : v;  // keeps NaN, so that a diverged network is seen
}

/// norm(x); scale = gamma·rstd. No multiply_add: it has the same bits as a vector and alone.
template <class Vector>
NEPENTHE_INLINE Vector normalised(const Vector& x, const Vector& mean, const Vector& scale, const Vector& beta) {
  return (x - mean) * scale + beta;
}

/// Both scales: of a batch's own statistics, and of given ones.
inline void scales(int channels, float* scale, const float* gamma, const float* rstd) {
  for (int c = 0; c < channels; ++c) scale[c] = gamma[c] * rstd[c];
}
inline void scales(int channels, float* scale, const float* gamma, const float* var, float eps) {
  for (int c = 0; c < channels; ++c) {
    scale[c] = static_cast<float>(gamma[c] / std::sqrt(double{var[c]} + double{eps}));
  }
}

/// A convolution's OutputNorm, ready for the loops: mean, scale and beta in whole vectors.
template <class T>
struct Finish {
  const float *mean = nullptr, *scale = nullptr, *beta = nullptr;
  const T* residual = nullptr;
  bool relu = false;
};

/// `of`, where it is anything; the scale in the memory at `scale` (channels).
template <class T>
Finish<T> scaled(const OutputNorm<T>& of, int channels, float* scale) {
  if (of.mean == nullptr) return {};
  scales(channels, scale, of.gamma, of.var, of.eps);
  return {.mean = of.mean, .scale = scale, .beta = of.beta, .residual = of.residual, .relu = of.relu};
}

/// Where a vector of outputs of one channel block goes: `at` is its place in y, and in the residual.
template <int W, class T>
struct Assigned {
  T* y;
  NEPENTHE_INLINE Assigned(const Finish<T>&, T* to, int) : y(to) {}
  NEPENTHE_INLINE void operator()(std::size_t at, const typename Lanes<W>::type& value) const {
    store<W>(y + at, value);
  }
};
template <int W, class T>
struct Added {
  T* y;
  NEPENTHE_INLINE Added(const Finish<T>&, T* to, int) : y(to) {}
  NEPENTHE_INLINE void operator()(std::size_t at, const typename Lanes<W>::type& value) const {
    store<W>(y + at, load<W>(y + at) + value);
  }
};
template <int W, class T>
struct Finished {
  T* y;
  const T* residual;
  bool relu;
  typename Lanes<W>::type mean, scale, beta;
  NEPENTHE_INLINE Finished(const Finish<T>& finish, T* to, int block)
      : y(to),
        residual(finish.residual),
        relu(finish.relu),
        mean(load<W>(finish.mean + block * W)),
        scale(load<W>(finish.scale + block * W)),
        beta(load<W>(finish.beta + block * W)) {}
  NEPENTHE_INLINE void operator()(std::size_t at, const typename Lanes<W>::type& value) const {
    auto v = normalised(value, mean, scale, beta);
    if (residual != nullptr) v += load<W>(residual + at);
    store<W>(y + at, relu ? rectified(v) : v);
  }
};

}  // namespace nepenthe::kernels
