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

#if defined(NEPENTHE_CUDA)
/// The same; T, the activations' type, is float or bf16. The rows are fp32 always: what follows is the head.
template <class T>
void global_avg_pool_forward(CudaExec& exec, const ImageShape& shape, float* y, const T* x);
template <class T>
void global_avg_pool_backward(CudaExec& exec, const ImageShape& shape, T* dx, Accumulate accumulate, const float* dy);
#endif

}  // namespace nepenthe::kernels
