// How activations lie in memory. The backend chooses; only kernels, and readers in tests, look.
#pragma once

#include "kernels/exec_fwd.h"

namespace nepenthe::kernels {

/// An activation of logical shape (N, H, W, C) has element (n, h, w, c) at
///   ((n·(C/block) + c/block)·H·W + h·W + w)·block + c mod block.
/// block = 1 is planar (NCHW), block = C is NHWC. On the CPU lanes() where that divides the channels, so that a pixel
/// of a channel block is a vector, else planar. On CUDA NHWC.
int channel_block(const CpuExec& exec, int channels);
inline int channel_block(const CudaExec&, int channels) { return channels; }

}  // namespace nepenthe::kernels
