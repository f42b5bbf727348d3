// Scalar softmax and cross entropy.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/shapes.h"
#include "reference/number.h"

namespace nepenthe::reference {

/// softmax(logits), row by row.
template <class T>
std::vector<T> softmax(const kernels::LogitsShape& s, const std::vector<T>& logits) {
  const std::size_t classes = s.classes;
  std::vector<T> probabilities(logits.size());
  for (std::size_t row = 0; row < std::size_t(s.rows); ++row) {
    double shift = real_part(logits[row * classes]);
    for (std::size_t c = 1; c < classes; ++c) shift = std::max(shift, real_part(logits[row * classes + c]));
    T sum = 0;
    for (std::size_t c = 0; c < classes; ++c) sum += std::exp(logits[row * classes + c] - shift);
    for (std::size_t c = 0; c < classes; ++c) {
      probabilities[row * classes + c] = std::exp(logits[row * classes + c] - shift) / sum;
    }
  }
  return probabilities;
}

template <class T>
std::vector<T> softmax_cross_entropy_forward(const kernels::LogitsShape& s, const std::vector<T>& logits,
                                             const std::vector<std::int32_t>& labels) {
  const std::vector<T> probabilities = softmax(s, logits);
  std::vector<T> losses(s.rows);
  for (std::size_t row = 0; row < losses.size(); ++row) {
    losses[row] = -std::log(probabilities[row * s.classes + labels[row]]);
  }
  return losses;
}

template <class T>
std::vector<T> softmax_cross_entropy_backward(const kernels::LogitsShape& s, const std::vector<T>& logits,
                                              const std::vector<std::int32_t>& labels, double scale) {
  std::vector<T> dlogits = softmax(s, logits);
  for (std::size_t row = 0; row < labels.size(); ++row) dlogits[row * s.classes + labels[row]] -= 1.0;
  for (T& d : dlogits) d *= scale;
  return dlogits;
}

}  // namespace nepenthe::reference
