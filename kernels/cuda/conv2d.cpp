#include "kernels/conv2d.h"

#include <stdexcept>
#include <type_traits>

#include <fmt/core.h>

#include "kernels/bf16.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/conv_plans.h"

namespace nepenthe::kernels {
namespace {

/// T's operands are multiplied in this precision.
template <class T>
ConvProblem problem_for(const CudaExec& exec, ConvOperation operation, const Conv2dShape& s, Accumulate accumulate) {
  const bool positive = s.n > 0 && s.h > 0 && s.w > 0 && s.c > 0 && s.out_c > 0 && s.kernel > 0 && s.stride > 0;
  if (!positive || s.padding < 0 || s.h + 2 * s.padding < s.kernel || s.w + 2 * s.padding < s.kernel) {
    throw std::invalid_argument(fmt::format(
        "[conv2d] no output for input (N, H, W, C) = ({}, {}, {}, {}), {} filters of {} x {}, stride {}, padding {}",
        s.n, s.h, s.w, s.c, s.out_c, s.kernel, s.kernel, s.stride, s.padding));
  }
  const Precision precision = std::is_same_v<T, bf16>               ? Precision::bf16
                              : exec.precision() == Precision::fp32 ? Precision::fp32
                                                                    : Precision::tf32;
  return {.operation = operation, .shape = s, .precision = precision, .accumulate = accumulate};
}

}  // namespace

template <class T>
void conv2d_forward(CudaExec& exec, const Conv2dShape& shape, T* y, const T* x, const T* w) {
  const auto problem = problem_for<T>(exec, ConvOperation::forward, shape, Accumulate::assign);
  exec.context().convolutions->run(exec, problem, y, x, w);
}

template <class T>
void conv2d_backward_data(CudaExec& exec, const Conv2dShape& shape, T* dx, Accumulate accumulate, const T* dy,
                          const T* w) {
  const auto problem = problem_for<T>(exec, ConvOperation::backward_data, shape, accumulate);
  exec.context().convolutions->run(exec, problem, dx, dy, w);
}

template <class T>
void conv2d_backward_weights(CudaExec& exec, const Conv2dShape& shape, float* dw, Accumulate accumulate, const T* dy,
                             const T* x) {
  const auto problem = problem_for<T>(exec, ConvOperation::backward_weights, shape, accumulate);
  exec.context().convolutions->run(exec, problem, dw, dy, x);
}

template void conv2d_forward(CudaExec&, const Conv2dShape&, float*, const float*, const float*);
template void conv2d_forward(CudaExec&, const Conv2dShape&, bf16*, const bf16*, const bf16*);
template void conv2d_backward_data(CudaExec&, const Conv2dShape&, float*, Accumulate, const float*, const float*);
template void conv2d_backward_data(CudaExec&, const Conv2dShape&, bf16*, Accumulate, const bf16*, const bf16*);
template void conv2d_backward_weights(CudaExec&, const Conv2dShape&, float*, Accumulate, const float*, const float*);
template void conv2d_backward_weights(CudaExec&, const Conv2dShape&, float*, Accumulate, const bf16*, const bf16*);

}  // namespace nepenthe::kernels
