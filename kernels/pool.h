// Global average pooling: activations in the backend's layout to plain rows.
#pragma once

#include "kernels/exec.h"
#include "kernels/shapes.h"

namespace nepenthe::kernels {

/// y (N, C), row major = the mean of x (N, H, W, C) over H and W.
void global_avg_pool_forward(CpuExec& exec, const ImageShape& shape, float* y, const float* x);

/// dx (N, H, W, C), assigned or added to, = dy (N, C) / (H·W).
void global_avg_pool_backward(CpuExec& exec, const ImageShape& shape, float* dx, Accumulate accumulate,
                              const float* dy);

}  // namespace nepenthe::kernels
