// Small vector helpers of the engine.
#pragma once

#include <cstddef>

#include "kernels/exec.h"

namespace nepenthe::kernels {

/// x (count) = value.
void fill(CpuExec& exec, std::size_t count, float* x, float value);

/// y (count) += x (count).
void add(CpuExec& exec, std::size_t count, float* y, const float* x);

/// The mean of x (count), summed in double, in order; count > 0.
float mean(CpuExec& exec, std::size_t count, const float* x);

}  // namespace nepenthe::kernels
