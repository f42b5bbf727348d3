// Batch normalisation over (N, H, W) for each channel (Ioffe & Szegedy 2015), fused with what follows it in a residual
// network: y = relu?(gamma·(x − mean)·rstd + beta [+ residual]).
//
// T, the activations' type, is float or bf16; arithmetic is in fp32. Activations are (N, H, W, C) in the backend's
// layout, all other operands (C), aligned to 32 bytes. Shapes without elements are std::invalid_argument.
#pragma once

#include "kernels/exec_fwd.h"
#include "kernels/shapes.h"

namespace nepenthe::kernels {

/// Normalises with the batch's own mean and biased variance and keeps them.
template <class T>
struct BatchNormForward {
  BatchNormShape shape;
  T* y;                 // may not alias x; on the CPU null where the statistics alone are wanted
  float* mean;          // the batch's
  float* rstd;          // 1/√(variance + eps)
  float* running_mean;  // moved towards the batch's
  float* running_var;   // likewise, the variance unbiased: n/(n − 1), n = N·H·W; for n = 1 the biased one
  const T* x;
  const T* residual;  // read if shape.add
  const float* gamma;
  const float* beta;
};
template <class T>
void batch_norm_forward(CpuExec& exec, const BatchNormForward<T>& operands);
template <class T>
void batch_norm_forward(CudaExec& exec, const BatchNormForward<T>& operands);

/// The same with given statistics, as in evaluation.
template <class T>
struct BatchNormInference {
  BatchNormShape shape;
  T* y;
  const T* x;
  const T* residual;  // read if shape.add
  const float* gamma;
  const float* beta;
  const float* mean;
  const float* var;
};
template <class T>
void batch_norm_inference(CpuExec& exec, const BatchNormInference<T>& operands);
template <class T>
void batch_norm_inference(CudaExec& exec, const BatchNormInference<T>& operands);

/// Gradients of batch_norm_forward, whose operands x, gamma, beta and results y, mean, rstd it takes.
template <class T>
struct BatchNormBackward {
  BatchNormShape shape;
  T* dx;         // assigned; may not alias anything
  T* dresidual;  // only if shape.add; may be the same memory as dy where it is assigned
  Accumulate accumulate_residual;
  float* dgamma;
  float* dbeta;
  Accumulate accumulate;  // of dgamma and dbeta
  const T* dy;            // the gradient of y
  const T* x;
  const T* y;  // read if shape.add
  const float* gamma;
  const float* beta;
  const float* mean;
  const float* rstd;
};
template <class T>
void batch_norm_backward(CpuExec& exec, const BatchNormBackward<T>& operands);
template <class T>
void batch_norm_backward(CudaExec& exec, const BatchNormBackward<T>& operands);

}  // namespace nepenthe::kernels
