// Scalar convolution: the sum of the definition, no more.
#pragma once

#include "kernels/shapes.h"
#include "reference/number.h"

namespace nepenthe::reference {

/// Calls term(place in x, place in w, place in y) for every product of the convolution.
template <class Term>
void conv2d_terms(const kernels::Conv2dShape& s, Term&& term) {
  const int out_h = s.out_h(), out_w = s.out_w();
  for (int n = 0; n < s.n; ++n) {
    for (int p = 0; p < out_h; ++p) {
      for (int q = 0; q < out_w; ++q) {
        for (int r = 0; r < s.kernel; ++r) {
          const int h = p * s.stride + r - s.padding;
          if (h < 0 || h >= s.h) continue;
          for (int t = 0; t < s.kernel; ++t) {
            const int w = q * s.stride + t - s.padding;
            if (w < 0 || w >= s.w) continue;
            const std::size_t x = at(s.h, s.w, s.c, n, h, w, 0), y = at(out_h, out_w, s.out_c, n, p, q, 0);
            for (int k = 0; k < s.out_c; ++k) {
              const std::size_t filter = ((std::size_t(k) * s.kernel + r) * s.kernel + t) * s.c;
              for (int c = 0; c < s.c; ++c) term(x + c, filter + c, y + k);
            }
          }
        }
      }
    }
  }
}

template <class T>
std::vector<T> conv2d_forward(const kernels::Conv2dShape& s, const std::vector<T>& x, const std::vector<T>& w) {
  std::vector<T> y(s.output().size());
  conv2d_terms(s, [&](std::size_t in, std::size_t filter, std::size_t out) { y[out] += x[in] * w[filter]; });
  return y;
}

template <class T>
std::vector<T> conv2d_backward_data(const kernels::Conv2dShape& s, const std::vector<T>& dy, const std::vector<T>& w) {
  std::vector<T> dx(s.input().size());
  conv2d_terms(s, [&](std::size_t in, std::size_t filter, std::size_t out) { dx[in] += dy[out] * w[filter]; });
  return dx;
}

template <class T>
std::vector<T> conv2d_backward_weights(const kernels::Conv2dShape& s, const std::vector<T>& dy,
                                       const std::vector<T>& x) {
  std::vector<T> dw(s.weights());
  conv2d_terms(s, [&](std::size_t in, std::size_t filter, std::size_t out) { dw[filter] += dy[out] * x[in]; });
  return dw;
}

}  // namespace nepenthe::reference
