// 2-d convolution without bias. Activations lie in the backend's layout; filters are (K, R, S, C) in memory, that is
// (out channels, kernel rows, kernel columns, in channels), on every backend.
//
// T, the type of activations and filters, is float or bf16. On the CPU all arithmetic is in fp32. On CUDA cuDNN
// computes: for float products in fp32, or in TF32 where the precision is tf32 or bf16; for bf16 products in bf16, sums
// in fp32. There all operands are aligned to 16 bytes, and the first call for a shape makes its plan, so that it cannot
// be captured. Throws std::invalid_argument for shapes without output and for what a backend does not take,
// std::runtime_error where cuDNN has no engine that may be used, or a recorded one cannot be had.
#pragma once

#include <stdexcept>
#include <type_traits>

#include "kernels/bf16.h"
#include "kernels/exec_fwd.h"
#include "kernels/shapes.h"

namespace nepenthe::kernels {

/// What a convolution's input goes through on its way in: relu(gamma·(x − mean)·rstd + beta), with numbers (C) as
/// batch_norm_forward leaves them; in fp32 the bits are those of one after the other, in bf16 nothing is rounded in
/// between. Null: the input is taken as it is. Only where normalises_input says so, and not with an OutputNorm.
struct InputNorm {
  const float* mean = nullptr;
  const float* rstd = nullptr;
  const float* gamma = nullptr;
  const float* beta = nullptr;
};

/// Whether the convolutions of this shape take an InputNorm.
bool normalises_input(const CpuExec& exec, const Conv2dShape& shape);
inline bool normalises_input(const CudaExec&, const Conv2dShape&) { return false; }

/// What a convolution's output goes through on its way out: relu?(gamma·(y − mean)/√(var + eps) + beta [+ residual]),
/// in fp32 with the bits of batch_norm_inference behind it. Numbers (K). Null: the output is left as it is. Only where
/// normalises_output says so.
template <class T>
struct OutputNorm {
  const float* mean = nullptr;
  const float* var = nullptr;
  const float* gamma = nullptr;
  const float* beta = nullptr;
  float eps = 0;
  const T* residual = nullptr;  // (N, H', W', K), or null
  bool relu = false;
};

/// Whether convolutions take an OutputNorm.
inline bool normalises_output(const CpuExec&) { return true; }
inline bool normalises_output(const CudaExec&) { return false; }

/// y = x * w.
template <class T>
struct Conv2dForward {
  Conv2dShape shape;
  T* y;        // (N, H', W', K)
  const T* x;  // (N, H, W, C)
  const T* w;  // (K, R, S, C)
  InputNorm norm = {};
  OutputNorm<T> output_norm = {};
};
template <class T>
void conv2d_forward(CpuExec& exec, const Conv2dForward<T>& operands);
template <class T>
void conv2d_forward(CudaExec& exec, const Conv2dForward<T>& operands);

template <class T>
struct Conv2dBackwardData {
  Conv2dShape shape;
  T* dx;  // (N, H, W, C)
  Accumulate accumulate;
  const T* dy;  // (N, H', W', K)
  const T* w;   // (K, R, S, C)
};
template <class T>
void conv2d_backward_data(CpuExec& exec, const Conv2dBackwardData<T>& operands);
template <class T>
void conv2d_backward_data(CudaExec& exec, const Conv2dBackwardData<T>& operands);

/// Whether convolutions of bf16 operands take a narrow_dw (below), since the library writes the type that it reads. It
/// is assigned, never with Accumulate::add.
inline bool writes_narrow_gradients(const CpuExec&) { return false; }
inline bool writes_narrow_gradients(const CudaExec&) { return true; }

/// On the CPU partial sums over fixed chunks of the batch are added in chunk order. On CUDA what bf16 operands give is
/// rounded to bf16 before it is assigned or added.
template <class T>
struct Conv2dBackwardWeights {
  Conv2dShape shape;
  float* dw;                  // (K, R, S, C); fp32 for both types: it goes to the master weights
  bf16* narrow_dw = nullptr;  // (K, R, S, C); if not null assigned instead of dw
  Accumulate accumulate;
  const T* dy;  // (N, H', W', K)
  const T* x;   // (N, H, W, C)
  InputNorm norm = {};
};
template <class T>
void conv2d_backward_weights(CpuExec& exec, const Conv2dBackwardWeights<T>& operands);
template <class T>
void conv2d_backward_weights(CudaExec& exec, const Conv2dBackwardWeights<T>& operands);

/// What the backends refuse.
template <class Exec, class T>
void check(const Exec& exec, const Conv2dForward<T>& o) {
  check("conv2d", o.shape);
  const bool in = o.norm.mean != nullptr, out = o.output_norm.mean != nullptr;
  if ((in && (out || !normalises_input(exec, o.shape))) || (out && !normalises_output(exec))) {
    throw std::invalid_argument("[conv2d] a normalisation that this convolution does not take");
  }
}
template <class Exec, class T>
void check(const Exec& exec, const Conv2dBackwardWeights<T>& o) {
  check("conv2d", o.shape);
  if (o.norm.mean != nullptr && !normalises_input(exec, o.shape)) {
    throw std::invalid_argument("[conv2d] a normalisation that this convolution does not take");
  }
  if (o.narrow_dw == nullptr) return;
  if (!writes_narrow_gradients(exec) || std::is_same_v<T, float> || o.accumulate == Accumulate::add) {
    throw std::invalid_argument("[conv2d] a gradient in bf16 is assigned, of bf16 operands, on CUDA alone");
  }
}

/// From here on a convolution over fewer pictures than `full` takes the engine of `full`, where cuDNN makes a plan of
/// it: its heuristics take a quarter of a second for a batch size. 0: each its own. Nothing happens on the CPU.
inline void plan_as_for_batch(CpuExec&, int /*full*/) {}
void plan_as_for_batch(CudaExec& exec, int full);

}  // namespace nepenthe::kernels
