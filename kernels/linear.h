// The fully connected layer; all operands row major.
#pragma once

#include "kernels/exec.h"
#include "kernels/shapes.h"

namespace nepenthe::kernels {

/// y (rows, out) = x (rows, in) · w (out, in)ᵀ + b (out).
void linear_forward(CpuExec& exec, const LinearShape& shape, float* y, const float* x, const float* w, const float* b);

/// dx (rows, in), assigned or added to, = dy (rows, out) · w.
void linear_backward_data(CpuExec& exec, const LinearShape& shape, float* dx, Accumulate accumulate, const float* dy,
                          const float* w);

/// dw (out, in) = dyᵀ · x and db (out) = column sums of dy, assigned or added to.
void linear_backward_weights(CpuExec& exec, const LinearShape& shape, float* dw, float* db, Accumulate accumulate,
                             const float* dy, const float* x);

#if defined(NEPENTHE_CUDA)
/// The same with cuBLASLt: products in fp32, or in TF32 where the precision is tf32 or bf16. Matrices are aligned to 16
/// bytes. Throws std::invalid_argument for shapes without output or depth.
void linear_forward(CudaExec& exec, const LinearShape& shape, float* y, const float* x, const float* w, const float* b);
void linear_backward_data(CudaExec& exec, const LinearShape& shape, float* dx, Accumulate accumulate, const float* dy,
                          const float* w);
void linear_backward_weights(CudaExec& exec, const LinearShape& shape, float* dw, float* db, Accumulate accumulate,
                             const float* dy, const float* x);
#endif

}  // namespace nepenthe::kernels
