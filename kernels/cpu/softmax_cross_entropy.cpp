#include "kernels/softmax_cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/logits.h"

namespace nepenthe::kernels {
namespace {

bool all_finite(const float* z, int classes) {
  return std::all_of(z, z + classes, [](float logit) { return std::isfinite(logit); });
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

void softmax_cross_entropy_forward(CpuExec& exec, const SoftmaxCrossEntropyForward& o) {
  check("softmax_cross_entropy", o.shape);
  const int classes = o.shape.classes;
  each_row(exec, o.shape.rows, [&](std::size_t row) {
    const float* z = o.logits + row * classes;
    o.losses[row] = cross_entropy(z, classes, o.labels[row]);
    o.ranks[row] = true_class_rank(z, classes, o.labels[row]);
  });
}

void softmax_cross_entropy_backward(CpuExec& exec, const SoftmaxCrossEntropyBackward& o) {
  check("softmax_cross_entropy", o.shape);
  const int classes = o.shape.classes;
  const bool adds = o.accumulate == Accumulate::add;
  each_row(exec, o.shape.rows, [&](std::size_t row) {
    const float* z = o.logits + row * classes;
    float* dz = o.dlogits + row * classes;
    const float shift = largest(z, classes);
    const int label = o.labels[row];
    double others = 0;
    for (int c = 0; c < classes; ++c) {
      if (c != label) others += std::exp(z[c] - shift);
    }
    // The true class's p − 1 is minus the others' share, which keeps its digits where p rounds to 1.
    const double factor = o.scale / (others + std::exp(z[label] - shift));
    for (int c = 0; c < classes; ++c) {
      const auto gradient = static_cast<float>((c == label ? -others : std::exp(z[c] - shift)) * factor);
      dz[c] = adds ? dz[c] + gradient : gradient;
    }
  });
}

}  // namespace nepenthe::kernels
