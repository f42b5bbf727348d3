#include "kernels/cuda/linear_bias.h"

#include "kernels/cuda/context.h"
#include "kernels/cuda/device/launch.cuh"

namespace nepenthe::kernels {
namespace {

constexpr int width = 32;   // columns of a block
constexpr int height = 16;  // rows that it reads at once

__global__ void column_sums_kernel(int rows, int columns, float* sums, bool adds, const float* x) {
  wait_for_earlier_kernels();
  NEPENTHE_SHARED(float, partial, [height][width]);
  const int column = static_cast<int>(blockIdx.x) * width + static_cast<int>(threadIdx.x);
  const int lane = static_cast<int>(threadIdx.y);
  float sum = 0;
  if (column < columns) {
    for (int row = lane; row < rows; row += height) sum += x[static_cast<std::size_t>(row) * columns + column];
  }
  partial[lane][threadIdx.x] = sum;
  for (int half = height / 2; half > 0; half /= 2) {
    __syncthreads();
    if (lane < half) partial[lane][threadIdx.x] += partial[lane + half][threadIdx.x];
  }
  // Thread (·, 0) has written the last sum itself.
  if (lane == 0 && column < columns) sums[column] = (adds ? sums[column] : 0.0f) + partial[0][threadIdx.x];
}

}  // namespace

void column_sums(CudaExec& exec, int rows, int columns, float* sums, Accumulate accumulate, const float* x) {
  const dim3 grid(static_cast<unsigned>((columns + width - 1) / width));
  NEPENTHE_LAUNCH(column_sums_kernel, grid, dim3(width, height), 0, exec.context().stream, rows, columns, sums,
                  accumulate == Accumulate::add, x);
}

}  // namespace nepenthe::kernels
