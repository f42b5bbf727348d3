// 2-d convolution without bias. Activations lie in the backend's layout; filters are (K, R, S, C) in memory, that is
// (out channels, kernel rows, kernel columns, in channels), on every backend.
#pragma once

#include "kernels/exec.h"
#include "kernels/shapes.h"

namespace nepenthe::kernels {

/// y (N, H', W', K) = x (N, H, W, C) * w. Throws std::invalid_argument for shapes without output.
void conv2d_forward(CpuExec& exec, const Conv2dShape& shape, float* y, const float* x, const float* w);

/// dx (N, H, W, C), assigned or added to.
void conv2d_backward_data(CpuExec& exec, const Conv2dShape& shape, float* dx, Accumulate accumulate, const float* dy,
                          const float* w);

/// dw (K, R, S, C), assigned or added to. Partial sums over fixed chunks of the batch are added in chunk order.
void conv2d_backward_weights(CpuExec& exec, const Conv2dShape& shape, float* dw, Accumulate accumulate, const float* dy,
                             const float* x);

}  // namespace nepenthe::kernels
