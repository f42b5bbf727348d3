#include "kernels/conv2d.h"

#include <type_traits>

#include "kernels/bf16.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/conv_plans.h"

namespace nepenthe::kernels {
namespace {

/// T's operands are multiplied in this precision.
template <class T>
ConvProblem problem_for(const CudaExec& exec, ConvOperation operation, const Conv2dShape& s, Accumulate accumulate) {
  const Precision precision = std::is_same_v<T, bf16>               ? Precision::bf16
                              : exec.precision() == Precision::fp32 ? Precision::fp32
                                                                    : Precision::tf32;
  return {.operation = operation, .shape = s, .precision = precision, .accumulate = accumulate};
}

}  // namespace

template <class T>
void conv2d_forward(CudaExec& exec, const Conv2dForward<T>& o) {
  check(exec, o);
  const auto problem = problem_for<T>(exec, ConvOperation::forward, o.shape, Accumulate::assign);
  exec.context().convolutions->run(exec, problem, o.y, o.x, o.w);
}

template <class T>
void conv2d_backward_data(CudaExec& exec, const Conv2dBackwardData<T>& o) {
  check("conv2d", o.shape);
  const auto problem = problem_for<T>(exec, ConvOperation::backward_data, o.shape, o.accumulate);
  exec.context().convolutions->run(exec, problem, o.dx, o.dy, o.w);
}

template <class T>
void conv2d_backward_weights(CudaExec& exec, const Conv2dBackwardWeights<T>& o) {
  check(exec, o);
  auto problem = problem_for<T>(exec, ConvOperation::backward_weights, o.shape, o.accumulate);
  if (o.narrow_dw == nullptr) return exec.context().convolutions->run(exec, problem, o.dw, o.dy, o.x);
  problem.narrow = true;
  exec.context().convolutions->run(exec, problem, o.narrow_dw, o.dy, o.x);
}

void plan_as_for_batch(CudaExec& exec, int full) { exec.context().convolutions->plan_as_for_batch(full); }

template void conv2d_forward(CudaExec&, const Conv2dForward<float>&);
template void conv2d_forward(CudaExec&, const Conv2dForward<bf16>&);
template void conv2d_backward_data(CudaExec&, const Conv2dBackwardData<float>&);
template void conv2d_backward_data(CudaExec&, const Conv2dBackwardData<bf16>&);
template void conv2d_backward_weights(CudaExec&, const Conv2dBackwardWeights<float>&);
template void conv2d_backward_weights(CudaExec&, const Conv2dBackwardWeights<bf16>&);

}  // namespace nepenthe::kernels
