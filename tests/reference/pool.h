// Scalar pooling.
#pragma once

#include <cmath>

#include "kernels/shapes.h"
#include "reference/number.h"

namespace nepenthe::reference {

/// Calls visit(output, tap, input) for the pixels of every window, in row-major order of both; places in plain arrays.
template <class Visit>
void each_window_pixel(const kernels::PoolShape& s, Visit visit) {
  for (int n = 0; n < s.n; ++n) {
    for (int i = 0; i < s.out_h(); ++i) {
      for (int j = 0; j < s.out_w(); ++j) {
        for (int c = 0; c < s.c; ++c) {
          for (int tap = 0; tap < s.kernel * s.kernel; ++tap) {
            const int h = i * s.stride - s.padding + tap / s.kernel, w = j * s.stride - s.padding + tap % s.kernel;
            if (h < 0 || h >= s.h || w < 0 || w >= s.w) continue;
            visit(at(s.out_h(), s.out_w(), s.c, n, i, j, c), tap, at(s.h, s.w, s.c, n, h, w, c));
          }
        }
      }
    }
  }
}

/// The places in their windows of the first of the largest.
template <class T>
std::vector<int> max_pool_taps(const kernels::PoolShape& s, const std::vector<T>& x) {
  std::vector<int> taps(s.output().size(), -1);
  std::vector<double> largest(taps.size());
  each_window_pixel(s, [&](std::size_t output, int tap, std::size_t input) {
    const double value = real_part(x[input]);
    if (taps[output] >= 0 && !(value > largest[output]) && !std::isnan(value)) return;
    taps[output] = tap;
    largest[output] = value;
  });
  return taps;
}

template <class T>
std::vector<T> max_pool_forward(const kernels::PoolShape& s, const std::vector<T>& x) {
  const std::vector<int> taps = max_pool_taps(s, x);
  std::vector<T> y(taps.size());
  each_window_pixel(s, [&](std::size_t output, int tap, std::size_t input) {
    if (taps[output] == tap) y[output] = x[input];
  });
  return y;
}

template <class T>
std::vector<T> max_pool_backward(const kernels::PoolShape& s, const std::vector<T>& x, const std::vector<T>& dy) {
  const std::vector<int> taps = max_pool_taps(s, x);
  std::vector<T> dx(x.size());
  each_window_pixel(s, [&](std::size_t output, int tap, std::size_t input) {
    if (taps[output] == tap) dx[input] += dy[output];
  });
  return dx;
}

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
