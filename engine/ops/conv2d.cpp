#include "engine/ops/conv2d.h"

#include "engine/profile.h"
#include "kernels/conv2d.h"

namespace nepenthe::ops {

kernels::Conv2dShape conv2d_shape(const Variable& x, const Conv2dParameters& conv) {
  const auto [n, h, w, c] = x->value.shape();
  return {.n = n,
          .h = h,
          .w = w,
          .c = c,
          .out_c = conv.out_channels,
          .kernel = conv.kernel,
          .stride = conv.stride,
          .padding = conv.padding};
}

Variable conv2d(Pass& pass, const Variable& x, Parameters& parameters, const Conv2dParameters& conv) {
  const kernels::Conv2dShape shape = conv2d_shape(x, conv);
  Device& device = pass.device;
  const int weight = conv.weight;
  Variable y = make_variable(Tensor(device, shape.output(), device.activation_type()));
  device.run([&](auto& exec, auto element) {
    using T = decltype(element);
    const ProfiledRange range(device, "conv2d_forward");
    kernels::conv2d_forward<T>(
        exec, {.shape = shape, .y = y->value.as<T>(), .x = x->value.as<T>(), .w = parameters.filters<T>(weight)});
  });
  if (pass.tape != nullptr) {
    pass.tape->push([&device, &parameters, x, y, shape, weight] {
      device.run([&](auto& exec, auto element) {
        using T = decltype(element);
        const T* dy = y->grad.as<T>();
        const ParameterGradient dw = parameters.gradient(weight);
        {
          const ProfiledRange range(device, "conv2d_backward_weights");
          kernels::conv2d_backward_weights<T>(exec, {.shape = shape,
                                                     .dw = dw.data,
                                                     .narrow_dw = dw.narrow,
                                                     .accumulate = dw.accumulate,
                                                     .dy = dy,
                                                     .x = x->value.as<T>()});
        }
        if (!x->needs_grad) return;
        const ProfiledRange range(device, "conv2d_backward_data");
        const GradientSlot dx = gradient_slot(device, *x);
        kernels::conv2d_backward_data<T>(exec, {.shape = shape,
                                                .dx = dx.tensor.as<T>(),
                                                .accumulate = dx.accumulate,
                                                .dy = dy,
                                                .w = parameters.filters<T>(weight)});
      });
    });
  }
  return y;
}

}  // namespace nepenthe::ops
