// The fully connected layer; all operands fp32 and row major. On CUDA cuBLASLt computes: products in fp32, or in TF32
// where the precision is tf32 or bf16; matrices are aligned to 16 bytes. Throws std::invalid_argument for shapes
// without output or depth.
#pragma once

#include "kernels/exec_fwd.h"
#include "kernels/shapes.h"

namespace nepenthe::kernels {

/// y = x · wᵀ + b.
struct LinearForward {
  LinearShape shape;
  float* y;        // (rows, out)
  const float* x;  // (rows, in)
  const float* w;  // (out, in)
  const float* b;  // (out)
};
void linear_forward(CpuExec& exec, const LinearForward& operands);
void linear_forward(CudaExec& exec, const LinearForward& operands);

/// dx = dy · w.
struct LinearBackwardData {
  LinearShape shape;
  float* dx;  // (rows, in)
  Accumulate accumulate;
  const float* dy;  // (rows, out)
  const float* w;   // (out, in)
};
void linear_backward_data(CpuExec& exec, const LinearBackwardData& operands);
void linear_backward_data(CudaExec& exec, const LinearBackwardData& operands);

/// dw = dyᵀ · x, db = column sums of dy.
struct LinearBackwardWeights {
  LinearShape shape;
  float* dw;              // (out, in)
  float* db;              // (out)
  Accumulate accumulate;  // of both
  const float* dy;        // (rows, out)
  const float* x;         // (rows, in)
};
void linear_backward_weights(CpuExec& exec, const LinearBackwardWeights& operands);
void linear_backward_weights(CudaExec& exec, const LinearBackwardWeights& operands);

}  // namespace nepenthe::kernels
