// The second stage of a grid's reduction in the same launch: blocks leave partial results in global memory, and the one
// that is done last combines them, in the blocks' order.
#pragma once

#include "kernels/cuda/device/launch.cuh"

namespace nepenthe::kernels {

/// Called by all threads of every block, after their writes of partial results. True in the block that comes last,
/// which then sees all of them. `ticket` is zero before the kernel and again after it. `shared`: one number of the
/// block.
__device__ inline bool is_last_block(unsigned* ticket, unsigned* shared) {
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    const unsigned blocks = gridDim.x;
    *shared = atomicInc(ticket, blocks - 1) == blocks - 1;
    __threadfence();
  }
  __syncthreads();
  return *shared != 0;
}

}  // namespace nepenthe::kernels
