#include "kernels/softmax_cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/chunks.h"

namespace nepenthe::kernels {
namespace {

constexpr std::size_t rows_in_part = 16;

float largest(const float* z, int classes) { return *std::max_element(z, z + classes); }

bool all_finite(const float* z, int classes) {
  return std::all_of(z, z + classes, [](float logit) { return std::isfinite(logit); });
}

template <class Body>
void each_row(CpuExec& exec, int rows, Body&& body) {
  const Chunks parts{static_cast<std::size_t>(rows), rows_in_part};
  exec.parallel(parts.parts(), [&](int part, int) {
    const Range range = parts[part];
    for (std::size_t row = range.begin; row < range.end; ++row) body(row);
  });
}

float cross_entropy(const float* z, int classes, int label) {
  // A logit of −∞ would only drop out of the sum and hide that the network has diverged.
  if (!all_finite(z, classes)) return std::numeric_limits<float>::quiet_NaN();
  const float shift = largest(z, classes);
  double sum = 0;
  for (int c = 0; c < classes; ++c) sum += std::exp(z[c] - shift);
  return static_cast<float>(std::log(sum) + (double{shift} - z[label]));
}

std::int32_t true_class_rank(const float* z, int classes, int label) {
  int before = 0;
  bool broken = false;
  for (int c = 0; c < classes; ++c) {
    broken |= std::isnan(z[c]);
    before += z[c] > z[label] || (z[c] == z[label] && c < label);
  }
  return broken ? classes - 1 : before;
}

}  // namespace

void softmax_cross_entropy_forward(CpuExec& exec, const LogitsShape& shape, float* losses, std::int32_t* ranks,
                                   const float* logits, const std::int32_t* labels) {
  const int classes = shape.classes;
  each_row(exec, shape.rows, [=](std::size_t row) {
    const float* z = logits + row * classes;
    losses[row] = cross_entropy(z, classes, labels[row]);
    ranks[row] = true_class_rank(z, classes, labels[row]);
  });
}

void softmax_cross_entropy_backward(CpuExec& exec, const LogitsShape& shape, float* dlogits, const float* logits,
                                    const std::int32_t* labels, float scale) {
  const int classes = shape.classes;
  each_row(exec, shape.rows, [=](std::size_t row) {
    const float* z = logits + row * classes;
    float* dz = dlogits + row * classes;
    const float shift = largest(z, classes);
    const int label = labels[row];
    double others = 0;
    for (int c = 0; c < classes; ++c) {
      dz[c] = std::exp(z[c] - shift);
      if (c != label) others += dz[c];
    }
    // The true class's p − 1 is minus the others' share, which keeps its digits where p rounds to 1.
    const double factor = scale / (others + dz[label]);
    for (int c = 0; c < classes; ++c) dz[c] = static_cast<float>(dz[c] * factor);
    dz[label] = static_cast<float>(-others * factor);
  });
}

}  // namespace nepenthe::kernels
