// Pooling of activations in the backend's layout. T, their type, is float or bf16. Shapes
// without elements are std::invalid_argument.
#pragma once

#include <cstdint>

#include "kernels/exec_fwd.h"
#include "kernels/shapes.h"

namespace nepenthe::kernels {

/// y = the largest of x in each window, NaN counting as larger than any. `taps` says which, for the backward pass: row
/// · kernel + column in the window, of several equal ones the first in row-major order, as in PyTorch. Windows wider
/// than 16, or with more padding than half of that, are std::invalid_argument.
template <class T>
struct MaxPoolForward {
  PoolShape shape;
  T* y;                // (N, H', W', C)
  std::uint8_t* taps;  // (N, H', W', C) in y's layout; null: not wanted
  const T* x;          // (N, H, W, C)
};
template <class T>
void max_pool_forward(CpuExec& exec, const MaxPoolForward<T>& operands);
template <class T>
void max_pool_forward(CudaExec& exec, const MaxPoolForward<T>& operands);

/// dx = the sum of dy over the windows that took it, in row-major order of the windows.
template <class T>
struct MaxPoolBackward {
  PoolShape shape;
  T* dx;  // (N, H, W, C)
  Accumulate accumulate;
  const T* dy;               // (N, H', W', C)
  const std::uint8_t* taps;  // as the forward pass left it
};
template <class T>
void max_pool_backward(CpuExec& exec, const MaxPoolBackward<T>& operands);
template <class T>
void max_pool_backward(CudaExec& exec, const MaxPoolBackward<T>& operands);

/// Global average pooling, to plain rows, which are fp32 always: what follows is the head. y = the mean of x over H and
/// W.
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
