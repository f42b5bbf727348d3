#include "kernels/softmax_cross_entropy.h"

#include <cmath>

#include "kernels/cuda/context.h"
#include "kernels/cuda/device/reduce.cuh"

namespace nepenthe::kernels {
namespace {

constexpr int threads = 128;  // a warp takes a row

__device__ int own_row() { return static_cast<int>(blockIdx.x * (threads / 32) + threadIdx.x / 32); }

__device__ float largest(const float* z, int classes, int lane) {
  float shift = -INFINITY;
  for (int c = lane; c < classes; c += 32) shift = fmaxf(shift, z[c]);
  return warp_max(shift);
}

__global__ void __launch_bounds__(threads) forward_kernel(LogitsShape shape, float* losses, std::int32_t* ranks,
                                                          const float* logits, const std::int32_t* labels) {
  const int row = own_row(), lane = static_cast<int>(threadIdx.x % 32), classes = shape.classes;
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

__global__ void __launch_bounds__(threads)
    backward_kernel(LogitsShape shape, float* dlogits, const float* logits, const std::int32_t* labels, float scale) {
  const int row = own_row(), lane = static_cast<int>(threadIdx.x % 32), classes = shape.classes;
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
  for (int c = lane; c < classes; c += 32) dz[c] = (c == label ? -others : expf(z[c] - shift)) * factor;
}

int blocks_for(int rows) { return (rows + threads / 32 - 1) / (threads / 32); }

}  // namespace

void softmax_cross_entropy_forward(CudaExec& exec, const LogitsShape& shape, float* losses, std::int32_t* ranks,
                                   const float* logits, const std::int32_t* labels) {
  NEPENTHE_LAUNCH(forward_kernel, blocks_for(shape.rows), threads, 0, exec.context().stream, shape, losses, ranks,
                  logits, labels);
}

void softmax_cross_entropy_backward(CudaExec& exec, const LogitsShape& shape, float* dlogits, const float* logits,
                                    const std::int32_t* labels, float scale) {
  NEPENTHE_LAUNCH(backward_kernel, blocks_for(shape.rows), threads, 0, exec.context().stream, shape, dlogits, logits,
                  labels, scale);
}

}  // namespace nepenthe::kernels
