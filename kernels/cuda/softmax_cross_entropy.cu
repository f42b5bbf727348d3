#include "kernels/softmax_cross_entropy.h"

#include <cmath>

#include "kernels/cuda/context.h"
#include "kernels/cuda/device/logits.cuh"

namespace nepenthe::kernels {
namespace {

__global__ void __launch_bounds__(logits_threads) forward_kernel(LogitsShape shape, float* losses, std::int32_t* ranks,
                                                                 const float* logits, const std::int32_t* labels) {
  wait_for_earlier_kernels();
  const int row = own_row(), lane = own_lane(), classes = shape.classes;
  if (row >= shape.rows) return;
  const float* z = logits + std::int64_t{row} * classes;
  const int label = labels[row];
  const float own = z[label], shift = largest(z, classes, lane);
  double sum = 0;  // a sum near 1 is a loss near 0
  int before = 0;
  // A logit of −∞ would only drop out of the sum and hide that the network has diverged.
  bool finite = true, ordered = true;
  for (int c = lane; c < classes; c += 32) {
    const float logit = z[c];
    sum += expf(logit - shift);
    before += logit > own || (logit == own && c < label);
    finite = finite && isfinite(logit);
    ordered = ordered && !isnan(logit);
  }
  sum = warp_sum(sum);
  before = warp_sum(before);
  finite = __all_sync(whole_warp, finite);
  ordered = __all_sync(whole_warp, ordered);
  if (lane == 0) {
    losses[row] = finite ? static_cast<float>(log(sum) + (double{shift} - own)) : NAN;
    ranks[row] = ordered ? before : classes - 1;
  }
}

__global__ void __launch_bounds__(logits_threads)
    backward_kernel(LogitsShape shape, float* dlogits, bool adds, const float* logits, const std::int32_t* labels,
                    float scale) {
  wait_for_earlier_kernels();
  const int row = own_row(), lane = own_lane(), classes = shape.classes;
  if (row >= shape.rows) return;
  const float* z = logits + std::int64_t{row} * classes;
  float* dz = dlogits + std::int64_t{row} * classes;
  const int label = labels[row];
  const float shift = largest(z, classes, lane);
  float others = 0;
  for (int c = lane; c < classes; c += 32) {
    if (c != label) others += expf(z[c] - shift);
  }
  others = warp_sum(others);
  const float factor = scale / (others + expf(z[label] - shift));
  // The true class's p − 1 is minus the others' share, which keeps its digits where p rounds to 1.
  for (int c = lane; c < classes; c += 32) {
    const float gradient = (c == label ? -others : expf(z[c] - shift)) * factor;
    dz[c] = adds ? dz[c] + gradient : gradient;
  }
}

}  // namespace

void softmax_cross_entropy_forward(CudaExec& exec, const SoftmaxCrossEntropyForward& o) {
  check("softmax_cross_entropy", o.shape);
  NEPENTHE_LAUNCH(forward_kernel, logits_blocks(o.shape.rows), logits_threads, 0, exec.context().stream, o.shape,
                  o.losses, o.ranks, o.logits, o.labels);
}

void softmax_cross_entropy_backward(CudaExec& exec, const SoftmaxCrossEntropyBackward& o) {
  check("softmax_cross_entropy", o.shape);
  NEPENTHE_LAUNCH(backward_kernel, logits_blocks(o.shape.rows), logits_threads, 0, exec.context().stream, o.shape,
                  o.dlogits, o.accumulate == Accumulate::add, o.logits, o.labels, o.scale);
}

}  // namespace nepenthe::kernels
