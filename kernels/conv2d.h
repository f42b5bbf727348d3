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

#if defined(NEPENTHE_CUDA)
/// The same with cuDNN. T, the type of activations and filters, is float (products in fp32, or in TF32 where the
/// precision is tf32 or bf16) or bf16 (products in bf16, sums in fp32). All operands are aligned to 16 bytes. The first
/// call for a shape makes its plan, so it cannot be recorded into a graph. Throws std::runtime_error where cuDNN has no
/// engine that may be used, or a recorded one cannot be had.
template <class T>
void conv2d_forward(CudaExec& exec, const Conv2dShape& shape, T* y, const T* x, const T* w);

template <class T>
void conv2d_backward_data(CudaExec& exec, const Conv2dShape& shape, T* dx, Accumulate accumulate, const T* dy,
                          const T* w);

/// dw is fp32 for both types: it goes to the master weights.
template <class T>
void conv2d_backward_weights(CudaExec& exec, const Conv2dShape& shape, float* dw, Accumulate accumulate, const T* dy,
                             const T* x);
#endif

}  // namespace nepenthe::kernels
