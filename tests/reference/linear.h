// Scalar fully connected layer; row major.
#pragma once

#include "kernels/shapes.h"
#include "reference/number.h"

namespace nepenthe::reference {

template <class T>
std::vector<T> linear_forward(const kernels::LinearShape& s, const std::vector<T>& x, const std::vector<T>& w,
                              const std::vector<T>& b) {
  const std::size_t in = s.in, out = s.out;
  std::vector<T> y(s.rows * out);
  for (std::size_t i = 0; i < y.size(); ++i) {
    y[i] = b[i % out];
    for (std::size_t k = 0; k < in; ++k) y[i] += x[i / out * in + k] * w[i % out * in + k];
  }
  return y;
}

template <class T>
std::vector<T> linear_backward_data(const kernels::LinearShape& s, const std::vector<T>& dy, const std::vector<T>& w) {
  const std::size_t in = s.in, out = s.out;
  std::vector<T> dx(s.rows * in);
  for (std::size_t i = 0; i < dx.size(); ++i) {
    for (std::size_t o = 0; o < out; ++o) dx[i] += dy[i / in * out + o] * w[o * in + i % in];
  }
  return dx;
}

template <class T>
struct LinearGradients {
  std::vector<T> dw, db;
};

template <class T>
LinearGradients<T> linear_backward_weights(const kernels::LinearShape& s, const std::vector<T>& dy,
                                           const std::vector<T>& x) {
  const std::size_t in = s.in, out = s.out;
  LinearGradients<T> gradients{std::vector<T>(out * in), std::vector<T>(out)};
  for (std::size_t i = 0; i < dy.size(); ++i) {
    const std::size_t row = i / out, o = i % out;
    gradients.db[o] += dy[i];
    for (std::size_t k = 0; k < in; ++k) gradients.dw[o * in + k] += dy[i] * x[row * in + k];
  }
  return gradients;
}

}  // namespace nepenthe::reference
