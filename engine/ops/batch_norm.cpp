#include "engine/ops/batch_norm.h"

#include <stdexcept>

#include "kernels/batch_norm.h"

namespace nepenthe::ops {
namespace {

/// The gradient of the residual is that of the output behind the mask, so it takes over the output's memory where no
/// gradient has come before it.
GradientSlot residual_slot(Node& residual, const Node& y) {
  if (residual.grad) return {residual.grad.data(), kernels::Accumulate::add};
  residual.grad = y.grad;
  return {residual.grad.data(), kernels::Accumulate::assign};
}

}  // namespace

Variable batch_norm(Graph& graph, const Variable& x, const Variable& residual, Parameters& parameters,
                    const BatchNormParameters& norm, bool relu) {
  const kernels::BatchNormShape shape{.image = x->value.shape(), .add = residual != nullptr, .relu = relu};
  Device& device = graph.device;
  Variable y = make_variable(Tensor(device, shape.image));
  const float* residual_values = residual ? residual->value.data() : nullptr;
  const float* gamma = parameters.value(norm.weight);
  const float* beta = parameters.value(norm.bias);
  float* running_mean = parameters.value(norm.running_mean);
  float* running_var = parameters.value(norm.running_var);

  if (!graph.training) {
    if (graph.tape != nullptr) throw std::logic_error("[batch_norm] no gradient is defined in evaluation mode");
    std::visit(
        [&](auto& exec) {
          kernels::batch_norm_inference(exec, shape, y->value.data(), x->value.data(), residual_values, gamma, beta,
                                        running_mean, running_var);
        },
        device.exec());
    return y;
  }

  const int channels = shape.image.c;
  const Tensor mean(device, {1, 1, 1, channels}), rstd(device, {1, 1, 1, channels});
  std::visit(
      [&](auto& exec) {
        kernels::batch_norm_forward(exec, shape, y->value.data(), mean.data(), rstd.data(), running_mean, running_var,
                                    x->value.data(), residual_values, gamma, beta);
      },
      device.exec());
  if (graph.tape != nullptr) {
    graph.tape->record([&device, &parameters, x, y, residual, shape, norm, mean, rstd, gamma, beta] {
      float* dx = sole_gradient(device, *x);
      const GradientSlot dresidual =
          residual ? residual_slot(*residual, *y) : GradientSlot{nullptr, kernels::Accumulate::assign};
      const GradientSlot dgamma = parameters.gradient(norm.weight);
      const GradientSlot dbeta = parameters.gradient(norm.bias);
      std::visit(
          [&](auto& exec) {
            kernels::batch_norm_backward(exec, shape, dx, dresidual.data, dresidual.accumulate, dgamma.data, dbeta.data,
                                         dgamma.accumulate, y->grad.data(), x->value.data(), y->value.data(), gamma,
                                         beta, mean.data(), rstd.data());
          },
          device.exec());
    });
  }
  return y;
}

}  // namespace nepenthe::ops
