#include "engine/ops/fused_conv2d.h"

#include <variant>

#include "engine/profile.h"
#include "kernels/batch_norm.h"
#include "kernels/conv2d.h"

namespace nepenthe::ops {

Variable norm_conv2d(Pass& pass, const Variable& x, Parameters& parameters, const BatchNormParameters& norm,
                     const Conv2dParameters& conv) {
  const kernels::Conv2dShape shape = conv2d_shape(x, conv);
  Device& device = pass.device;
  if (!pass.training ||
      !std::visit([&](auto& exec) { return kernels::normalises_input(exec, shape); }, device.exec())) {
    return conv2d(pass, batch_norm(pass, x, nullptr, parameters, norm, true), parameters, conv);
  }

  const kernels::BatchNormShape norm_shape{.image = x->value.shape(), .relu = true};
  const Tensor mean(device, {1, 1, 1, shape.c}), rstd(device, {1, 1, 1, shape.c});
  const kernels::InputNorm input{.mean = mean.data(),
                                 .rstd = rstd.data(),
                                 .gamma = parameters.value(norm.weight),
                                 .beta = parameters.value(norm.bias)};
  Variable y = make_variable(Tensor(device, shape.output(), device.activation_type()));
  device.run([&](auto& exec, auto element) {
    using T = decltype(element);
    {
      const ProfiledRange range(device, "batch_norm_forward");
      kernels::batch_norm_forward<T>(exec, {.shape = norm_shape,
                                            .y = nullptr,
                                            .mean = mean.data(),
                                            .rstd = rstd.data(),
                                            .running_mean = parameters.value(norm.running_mean),
                                            .running_var = parameters.value(norm.running_var),
                                            .x = x->value.as<T>(),
                                            .residual = nullptr,
                                            .gamma = input.gamma,
                                            .beta = input.beta});
    }
    const ProfiledRange range(device, "conv2d_forward");
    kernels::conv2d_forward<T>(exec, {.shape = shape,
                                      .y = y->value.as<T>(),
                                      .x = x->value.as<T>(),
                                      .w = parameters.filters<T>(conv.weight),
                                      .norm = input});
  });
  if (pass.tape == nullptr) return y;
  pass.tape->push([&device, &parameters, x, y, shape, norm_shape, norm, conv, mean, rstd, input] {
    const Tensor normalised_gradient(device, norm_shape.image, device.activation_type());
    device.run([&](auto& exec, auto element) {
      using T = decltype(element);
      const T* dy = y->grad.as<T>();
      {
        const ParameterGradient dw = parameters.gradient(conv.weight);
        const ProfiledRange range(device, "conv2d_backward_weights");
        kernels::conv2d_backward_weights<T>(exec, {.shape = shape,
                                                   .dw = dw.data,
                                                   .accumulate = dw.accumulate,
                                                   .dy = dy,
                                                   .x = x->value.as<T>(),
                                                   .norm = input});
      }
      {
        const ProfiledRange range(device, "conv2d_backward_data");
        kernels::conv2d_backward_data<T>(exec, {.shape = shape,
                                                .dx = normalised_gradient.as<T>(),
                                                .accumulate = kernels::Accumulate::assign,
                                                .dy = dy,
                                                .w = parameters.filters<T>(conv.weight)});
      }
      y->grad = Tensor();  // its memory serves the next gradient
      const Tensor dx = sole_gradient(device, *x);
      const ParameterGradient dgamma = parameters.gradient(norm.weight), dbeta = parameters.gradient(norm.bias);
      const ProfiledRange range(device, "batch_norm_backward");
      kernels::batch_norm_backward<T>(exec, {.shape = norm_shape,
                                             .dx = dx.as<T>(),
                                             .dresidual = nullptr,
                                             .accumulate_residual = kernels::Accumulate::assign,
                                             .dgamma = dgamma.data,
                                             .dbeta = dbeta.data,
                                             .accumulate = dgamma.accumulate,
                                             .dy = normalised_gradient.as<T>(),
                                             .x = x->value.as<T>(),
                                             .y = nullptr,
                                             .gamma = input.gamma,
                                             .beta = input.beta,
                                             .mean = mean.data(),
                                             .rstd = rstd.data()});
    });
  });
  return y;
}

Variable conv2d_norm(Pass& pass, const Variable& x, const Variable& residual, Parameters& parameters,
                     const Conv2dParameters& conv, const BatchNormParameters& norm, bool relu) {
  Device& device = pass.device;
  if (pass.training || !std::visit([](auto& exec) { return kernels::normalises_output(exec); }, device.exec())) {
    return batch_norm(pass, conv2d(pass, x, parameters, conv), residual, parameters, norm, relu);
  }
  const kernels::Conv2dShape shape = conv2d_shape(x, conv);
  Variable y = make_variable(Tensor(device, shape.output(), device.activation_type()));
  const Tensor added = residual ? residual->value : Tensor();
  device.run([&](auto& exec, auto element) {
    using T = decltype(element);
    const ProfiledRange range(device, "conv2d_forward");
    kernels::conv2d_forward<T>(exec, {.shape = shape,
                                      .y = y->value.as<T>(),
                                      .x = x->value.as<T>(),
                                      .w = parameters.filters<T>(conv.weight),
                                      .output_norm = {.mean = parameters.value(norm.running_mean),
                                                      .var = parameters.value(norm.running_var),
                                                      .gamma = parameters.value(norm.weight),
                                                      .beta = parameters.value(norm.bias),
                                                      .eps = kernels::BatchNormShape{}.eps,
                                                      .residual = added.as<T>(),
                                                      .relu = relu}});
  });
  return y;
}

}  // namespace nepenthe::ops
