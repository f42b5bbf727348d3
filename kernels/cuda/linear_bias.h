// The gradient of a linear layer's bias.
#pragma once

#include "kernels/exec_fwd.h"
#include "kernels/shapes.h"

namespace nepenthe::kernels {

/// sums (columns), assigned or added to, = Σ over rows of x (rows, columns), row major, in an order fixed by the shape.
void column_sums(CudaExec& exec, int rows, int columns, float* sums, Accumulate accumulate, const float* x);

}  // namespace nepenthe::kernels
