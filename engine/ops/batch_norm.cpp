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
      const T *in = x->value.as<T>(), *skip = added.as<T>();
      const ProfiledRange range(device, "batch_norm_inference");
      kernels::batch_norm_inference(exec, shape, y->value.as<T>(), in, skip, gamma, beta, running_mean, running_var);
    });
    return y;
  }

  const int channels = shape.image.c;
  const Tensor mean(device, {1, 1, 1, channels}), rstd(device, {1, 1, 1, channels});
  device.run([&](auto& exec, auto element) {
    using T = decltype(element);
    const T *in = x->value.as<T>(), *skip = added.as<T>();
    const ProfiledRange range(device, "batch_norm_forward");
    kernels::batch_norm_forward(exec, shape, y->value.as<T>(), mean.data(), rstd.data(), running_mean, running_var, in,
                                skip, gamma, beta);
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
        const T *dy = y->grad.as<T>(), *in = x->value.as<T>(), *out = y->value.as<T>();
        const ProfiledRange range(device, "batch_norm_backward");
        kernels::batch_norm_backward(exec, shape, dx.as<T>(), dresidual.tensor.as<T>(), dresidual.accumulate,
                                     dgamma.data, dbeta.data, dgamma.accumulate, dy, in, out, gamma, beta, mean.data(),
                                     rstd.data());
      });
    });
  }
  return y;
}

}  // namespace nepenthe::ops
