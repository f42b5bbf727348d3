// Batch normalisation over (N, H, W) for each channel (Ioffe & Szegedy 2015), fused with what follows it in a residual
// network: y = relu?(gamma·(x − mean)·rstd + beta [+ residual]).
#pragma once

#include "kernels/exec.h"
#include "kernels/shapes.h"

namespace nepenthe::kernels {

/// Normalises with the batch's own mean and biased variance and keeps them: mean (C), rstd (C) = 1/√(variance + eps).
/// running_mean, running_var (C) are moved towards the batch's, the variance unbiased (n/(n − 1), n = N·H·W; for n = 1
/// the biased one). residual (N, H, W, C) is read if shape.add, else may be null. y may not alias x.
void batch_norm_forward(CpuExec& exec, const BatchNormShape& shape, float* y, float* mean, float* rstd,
                        float* running_mean, float* running_var, const float* x, const float* residual,
                        const float* gamma, const float* beta);

/// The same with given statistics mean (C), var (C), as in evaluation.
void batch_norm_inference(CpuExec& exec, const BatchNormShape& shape, float* y, const float* x, const float* residual,
                          const float* gamma, const float* beta, const float* mean, const float* var);

/// Gradients of batch_norm_forward. x, y, gamma, beta, mean, rstd as in and out of the forward call; dy the gradient of
/// y. dx is assigned; dgamma, dbeta (C) by `accumulate`; dresidual (only if shape.add) by `accumulate_residual`, and
/// may be the same memory as dy when it is assigned. dx may not alias anything.
void batch_norm_backward(CpuExec& exec, const BatchNormShape& shape, float* dx, float* dresidual,
                         Accumulate accumulate_residual, float* dgamma, float* dbeta, Accumulate accumulate,
                         const float* dy, const float* x, const float* y, const float* gamma, const float* beta,
                         const float* mean, const float* rstd);

#if defined(NEPENTHE_CUDA)
/// The same; T, the activations' type, is float or bf16.
template <class T>
void batch_norm_forward(CudaExec& exec, const BatchNormShape& shape, T* y, float* mean, float* rstd,
                        float* running_mean, float* running_var, const T* x, const T* residual, const float* gamma,
                        const float* beta);
template <class T>
void batch_norm_inference(CudaExec& exec, const BatchNormShape& shape, T* y, const T* x, const T* residual,
                          const float* gamma, const float* beta, const float* mean, const float* var);
template <class T>
void batch_norm_backward(CudaExec& exec, const BatchNormShape& shape, T* dx, T* dresidual,
                         Accumulate accumulate_residual, float* dgamma, float* dbeta, Accumulate accumulate,
                         const T* dy, const T* x, const T* y, const float* gamma, const float* beta, const float* mean,
                         const float* rstd);
#endif

}  // namespace nepenthe::kernels
