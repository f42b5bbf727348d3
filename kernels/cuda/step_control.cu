#include "kernels/step_control.h"

#include <cmath>

#include "kernels/cuda/context.h"
#include "kernels/cuda/device/reduce.cuh"

namespace nepenthe::kernels {
namespace {

constexpr int threads = 256;

struct Totals {
  double loss_sum;
  int right;
};

/// In thread 0 the sums over the rows, in a fixed order.
__device__ Totals sum_rows(int rows, const float* losses, const std::int32_t* ranks, double* shared_losses,
                           int* shared_right) {
  double loss = 0;
  int right = 0;
  for (int row = static_cast<int>(threadIdx.x); row < rows; row += threads) {
    loss += losses[row];
    right += ranks[row] == 0;
  }
  return {block_sum<threads>(loss, shared_losses), block_sum<threads>(right, shared_right)};
}

__device__ void add_to_totals(StepControl* control, int rows, const Totals& totals) {
  control->loss_sum += totals.loss_sum;
  control->seen += rows;
  control->right += totals.right;
}

__global__ void __launch_bounds__(threads)
    tally_batch_kernel(StepControl* control, int rows, const float* losses, const std::int32_t* ranks) {
  wait_for_earlier_kernels();
  NEPENTHE_SHARED(double, shared_losses, [threads / 32]);
  NEPENTHE_SHARED(int, shared_right, [threads / 32]);
  const Totals totals = sum_rows(rows, losses, ranks, shared_losses, shared_right);
  if (threadIdx.x != 0) return;
  control->offset += rows;
  ++control->steps;
  if (control->diverged_at != 0) return;
  if (isfinite(totals.loss_sum)) {
    add_to_totals(control, rows, totals);
  } else {
    control->diverged_at = control->steps;
    control->diverged_loss = totals.loss_sum / rows;
  }
}

/// Each block copies rows; offset moves in a kernel after this one, when all have read it.
__global__ void __launch_bounds__(threads)
    copy_predictions_kernel(const StepControl* control, LogitsShape shape, PredictionArrays all, const float* logits,
                            const float* losses, const std::int32_t* ranks) {
  wait_for_earlier_kernels();
  const int row = static_cast<int>(blockIdx.x);
  const std::int64_t to = control->offset + row;
  for (int c = static_cast<int>(threadIdx.x); c < shape.classes; c += threads) {
    all.logits[to * shape.classes + c] = logits[std::int64_t{row} * shape.classes + c];
  }
  if (threadIdx.x == 0) {
    all.losses[to] = losses[row];
    all.ranks[to] = ranks[row];
  }
}

__global__ void __launch_bounds__(threads)
    count_predictions_kernel(StepControl* control, int rows, const float* losses, const std::int32_t* ranks) {
  wait_for_earlier_kernels();
  NEPENTHE_SHARED(double, shared_losses, [threads / 32]);
  NEPENTHE_SHARED(int, shared_right, [threads / 32]);
  const Totals totals = sum_rows(rows, losses, ranks, shared_losses, shared_right);
  if (threadIdx.x != 0) return;
  add_to_totals(control, rows, totals);
  control->offset += rows;
}

}  // namespace

void tally_batch(CudaExec& exec, const TallyBatch& o) {
  NEPENTHE_LAUNCH(tally_batch_kernel, 1, threads, 0, exec.context().stream, o.control, o.rows, o.losses, o.ranks);
}

void store_predictions(CudaExec& exec, const StorePredictions& o) {
  check("store_predictions", o.shape);
  const cudaStream_t stream = exec.context().stream;
  NEPENTHE_LAUNCH(copy_predictions_kernel, o.shape.rows, threads, 0, stream, o.control, o.shape, o.all, o.logits,
                  o.losses, o.ranks);
  NEPENTHE_LAUNCH(count_predictions_kernel, 1, threads, 0, stream, o.control, o.shape.rows, o.losses, o.ranks);
}

}  // namespace nepenthe::kernels
