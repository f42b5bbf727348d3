// Small vector helpers.
#pragma once

#include <cstddef>

#include "kernels/bf16.h"
#include "kernels/exec_fwd.h"
#include "kernels/shapes.h"

namespace nepenthe::kernels {

/// y (count) += x (count).
void add(CudaExec& exec, std::size_t count, float* y, const float* x);
void add(CudaExec& exec, std::size_t count, bf16* y, const bf16* x);

/// y (count) = x (count), rounded to nearest.
void cast(CpuExec& exec, std::size_t count, bf16* y, const float* x);
void cast(CudaExec& exec, std::size_t count, bf16* y, const float* x);
/// y (count) = x (count), or added to it.
void cast(CudaExec& exec, std::size_t count, float* y, Accumulate accumulate, const bf16* x);

}  // namespace nepenthe::kernels
