// Reductions whose order is fixed by the shape of the block, so that results have the same bits every time.
#pragma once

#include "kernels/cuda/device/launch.cuh"

namespace nepenthe::kernels {

inline constexpr unsigned whole_warp = 0xffffffffu;

/// In every lane the combination of all 32 lanes' values, in a fixed tree.
template <class T, class Combine>
__device__ T warp_reduce(T value, Combine combine) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value = combine(value, __shfl_xor_sync(whole_warp, value, offset));
  return value;
}

template <class T>
__device__ T warp_sum(T value) {
  return warp_reduce(value, [](T a, T b) { return a + b; });
}

__device__ inline float warp_max(float value) {
  return warp_reduce(value, [](float a, float b) { return fmaxf(a, b); });
}

/// In thread 0 the sum over a block of Threads threads, which all call it. `shared`: Threads/32 numbers.
template <int Threads, class T>
__device__ T block_sum(T value, T* shared) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  value = warp_sum(value);
  if (lane == 0) shared[warp] = value;
  __syncthreads();
  T sum = value;
  if (threadIdx.x == 0) {
    for (int other = 1; other < Threads / 32; ++other) sum += shared[other];
  }
  __syncthreads();
  return sum;
}

}  // namespace nepenthe::kernels
