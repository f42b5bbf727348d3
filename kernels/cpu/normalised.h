// What a normalised value is. Whoever computes it anew does the same operations, so that it has the same bits.
#pragma once

#include "kernels/cpu/isa.h"

namespace nepenthe::kernels {

template <class Vector>
NEPENTHE_INLINE Vector rectified(const Vector& v) {
  return v < 0 ? Vector{} : v;  // keeps NaN, so that a diverged network is seen
}

/// norm(x); scale = gamma·rstd.
template <class Vector>
NEPENTHE_INLINE Vector normalised(const Vector& x, const Vector& mean, const Vector& scale, const Vector& beta) {
  return (x - mean) * scale + beta;
}

inline void scales(int channels, float* scale, const float* gamma, const float* rstd) {
  for (int c = 0; c < channels; ++c) scale[c] = gamma[c] * rstd[c];
}

}  // namespace nepenthe::kernels
