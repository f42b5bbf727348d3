#include "engine/ops/batch_norm.h"

#include <stdexcept>

#include "engine/profile.h"
#include "kernels/batch_norm.h"

namespace nepenthe::ops {
namespace {

/// The gradient of the residual is that of the output behind the mask, so it takes over the output's memory where no
/// gradient has come before it.
GradientSlot residual_slot(Node& residual, const Node& y) {
  if (residual.grad) return {residual.grad, kernels::Accumulate::add};
  residual.grad = y.grad;
  return {residual.grad, kernels::Accumulate::assign};
}

}  // namespace

Variable batch_norm(Pass& pass, const Variable& x, const Variable& residual, Parameters& parameters,
                    const BatchNormParameters& norm, bool relu) {
  const kernels::BatchNormShape shape{.image = x->value.shape(), .add = residual != nullptr, .relu = relu};
  Device& device = pass.device;
  Variable y = make_variable(Tensor(device, shape.image, device.activation_type()));
  const Tensor added = residual ? residual->value : Tensor();
  const float* gamma = parameters.value(norm.weight);
  const float* beta = parameters.value(norm.bias);
  float* running_mean = parameters.value(norm.running_mean);
  float* running_var = parameters.value(norm.running_var);

  if (!pass.training) {
    if (pass.tape != nullptr) throw std::logic_error("[batch_norm] no gradient is defined in evaluation mode");
    device.run([&](auto& exec, auto element) {
      using T = decltype(element);
      const ProfiledRange range(device, "batch_norm_inference");
      kernels::batch_norm_inference<T>(exec, {.shape = shape,
                                              .y = y->value.as<T>(),
                                              .x = x->value.as<T>(),
                                              .residual = added.as<T>(),
                                              .gamma = gamma,
                                              .beta = beta,
                                              .mean = running_mean,
                                              .var = running_var});
    });
    return y;
  }

  const int channels = shape.image.c;
  const Tensor mean(device, {1, 1, 1, channels}), rstd(device, {1, 1, 1, channels});
  device.run([&](auto& exec, auto element) {
    using T = decltype(element);
    const ProfiledRange range(device, "batch_norm_forward");
    kernels::batch_norm_forward<T>(exec, {.shape = shape,
                                          .y = y->value.as<T>(),
                                          .mean = mean.data(),
                                          .rstd = rstd.data(),
                                          .running_mean = running_mean,
                                          .running_var = running_var,
                                          .x = x->value.as<T>(),
                                          .residual = added.as<T>(),
                                          .gamma = gamma,
                                          .beta = beta});
  });
  if (pass.tape != nullptr) {
    pass.tape->push([&device, &parameters, x, y, residual, shape, norm, mean, rstd, gamma, beta] {
      const Tensor dx = sole_gradient(device, *x);
      const GradientSlot dresidual =
          residual ? residual_slot(*residual, *y) : GradientSlot{Tensor(), kernels::Accumulate::assign};
      const ParameterGradient dgamma = parameters.gradient(norm.weight);
      const ParameterGradient dbeta = parameters.gradient(norm.bias);
      device.run([&](auto& exec, auto element) {
        using T = decltype(element);
        const ProfiledRange range(device, "batch_norm_backward");
        kernels::batch_norm_backward<T>(exec, {.shape = shape,
                                               .dx = dx.as<T>(),
                                               .dresidual = dresidual.tensor.as<T>(),
                                               .accumulate_residual = dresidual.accumulate,
                                               .dgamma = dgamma.data,
                                               .dbeta = dbeta.data,
                                               .accumulate = dgamma.accumulate,
                                               .dy = y->grad.as<T>(),
                                               .x = x->value.as<T>(),
                                               .y = y->value.as<T>(),
                                               .gamma = gamma,
                                               .beta = beta,
                                               .mean = mean.data(),
                                               .rstd = rstd.data()});
      });
    });
  }
  return y;
}

}  // namespace nepenthe::ops
