// Small vector helpers of the CUDA backend; the CPU's kernels need none.
#pragma once

#include <cstddef>

#include "kernels/bf16.h"
#include "kernels/exec.h"

namespace nepenthe::kernels {

#if defined(NEPENTHE_CUDA)
/// y (count) += x (count); T is float or bf16.
template <class T>
void add(CudaExec& exec, std::size_t count, T* y, const T* x);

/// y (count) = x (count), rounded to nearest.
void cast(CudaExec& exec, std::size_t count, bf16* y, const float* x);
/// y (count) = x (count), or added to it.
void cast(CudaExec& exec, std::size_t count, float* y, Accumulate accumulate, const bf16* x);
#endif

}  // namespace nepenthe::kernels
