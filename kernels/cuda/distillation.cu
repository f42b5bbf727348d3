#include "kernels/distillation.h"

#include "kernels/cuda/context.h"
#include "kernels/cuda/device/logits.cuh"

namespace nepenthe::kernels {
namespace {

/// Of exp((z − shift)/temperature) over a row; in every lane.
__device__ float sum_of_powers(const float* z, int classes, int lane, float shift, float temperature) {
  float sum = 0;
  for (int c = lane; c < classes; c += 32) sum += expf((z[c] - shift) / temperature);
  return warp_sum(sum);
}

__global__ void __launch_bounds__(logits_threads)
    backward_kernel(LogitsShape shape, float* dlogits, bool adds, const float* student, const float* teacher,
                    float temperature, float factor) {
  wait_for_earlier_kernels();
  const int row = own_row(), lane = own_lane(), classes = shape.classes;
  if (row >= shape.rows) return;
  const std::int64_t at = std::int64_t{row} * classes;
  const float *s = student + at, *t = teacher + at;
  float* dz = dlogits + at;
  const float shift_s = largest(s, classes, lane), shift_t = largest(t, classes, lane);
  const float sum_s = sum_of_powers(s, classes, lane, shift_s, temperature);
  const float sum_t = sum_of_powers(t, classes, lane, shift_t, temperature);
  for (int c = lane; c < classes; c += 32) {
    const float of_student = expf((s[c] - shift_s) / temperature) / sum_s;
    const float of_teacher = expf((t[c] - shift_t) / temperature) / sum_t;
    const float gradient = factor * (of_student - of_teacher);
    dz[c] = adds ? dz[c] + gradient : gradient;
  }
}

}  // namespace

void distillation_backward(CudaExec& exec, const DistillationBackward& o) {
  check(o);
  NEPENTHE_LAUNCH(backward_kernel, logits_blocks(o.shape.rows), logits_threads, 0, exec.context().stream, o.shape,
                  o.dlogits, o.accumulate == Accumulate::add, o.student, o.teacher, o.temperature,
                  o.scale * o.temperature);
}

}  // namespace nepenthe::kernels
