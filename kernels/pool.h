// Global average pooling: activations in the backend's layout to plain rows, which are fp32 always: what follows is the
// head. T, the activations' type, is float on the CPU, float or bf16 on CUDA. Shapes without elements are
// std::invalid_argument.
#pragma once

#include "kernels/exec_fwd.h"
#include "kernels/shapes.h"

namespace nepenthe::kernels {

/// y = the mean of x over H and W.
template <class T>
struct GlobalAvgPoolForward {
  ImageShape shape;
  float* y;    // (N, C), row major
  const T* x;  // (N, H, W, C)
};
template <class T>
void global_avg_pool_forward(CpuExec& exec, const GlobalAvgPoolForward<T>& operands);
template <class T>
void global_avg_pool_forward(CudaExec& exec, const GlobalAvgPoolForward<T>& operands);

/// dx = dy / (H·W).
template <class T>
struct GlobalAvgPoolBackward {
  ImageShape shape;
  T* dx;  // (N, H, W, C)
  Accumulate accumulate;
  const float* dy;  // (N, C), row major
};
template <class T>
void global_avg_pool_backward(CpuExec& exec, const GlobalAvgPoolBackward<T>& operands);
template <class T>
void global_avg_pool_backward(CudaExec& exec, const GlobalAvgPoolBackward<T>& operands);

}  // namespace nepenthe::kernels
