// Scalar global average pooling.
#pragma once

#include "kernels/shapes.h"
#include "reference/number.h"

namespace nepenthe::reference {

template <class T>
std::vector<T> global_avg_pool_forward(const kernels::ImageShape& s, const std::vector<T>& x) {
  std::vector<T> y(std::size_t(s.n) * s.c);
  for (int n = 0; n < s.n; ++n) {
    for (int h = 0; h < s.h; ++h) {
      for (int w = 0; w < s.w; ++w) {
        for (int c = 0; c < s.c; ++c) {
          y[std::size_t(n) * s.c + c] += x[at(s.h, s.w, s.c, n, h, w, c)] / double(s.h * s.w);
        }
      }
    }
  }
  return y;
}

template <class T>
std::vector<T> global_avg_pool_backward(const kernels::ImageShape& s, const std::vector<T>& dy) {
  std::vector<T> dx(s.size());
  for (int n = 0; n < s.n; ++n) {
    for (int h = 0; h < s.h; ++h) {
      for (int w = 0; w < s.w; ++w) {
        for (int c = 0; c < s.c; ++c) {
          dx[at(s.h, s.w, s.c, n, h, w, c)] = dy[std::size_t(n) * s.c + c] / double(s.h * s.w);
        }
      }
    }
  }
  return dx;
}

}  // namespace nepenthe::reference
