// How threads walk over rows of logits: a warp takes a row, its lanes every 32nd class.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/device/reduce.cuh"

namespace nepenthe::kernels {

inline constexpr int logits_threads = 128;  // of a block

inline int logits_blocks(int rows) { return (rows + logits_threads / 32 - 1) / (logits_threads / 32); }

__device__ inline int own_row() { return static_cast<int>(blockIdx.x * (logits_threads / 32) + threadIdx.x / 32); }
__device__ inline int own_lane() { return static_cast<int>(threadIdx.x % 32); }

/// In every lane.
__device__ inline float largest(const float* z, int classes, int lane) {
  float shift = -INFINITY;
  for (int c = lane; c < classes; c += 32) shift = fmaxf(shift, z[c]);
  return warp_max(shift);
}

}  // namespace nepenthe::kernels
