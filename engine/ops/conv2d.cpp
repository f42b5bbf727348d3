#include "engine/ops/conv2d.h"

#include "engine/profile.h"
#include "kernels/conv2d.h"

namespace nepenthe::ops {

Variable conv2d(Pass& pass, const Variable& x, Parameters& parameters, int weight, int kernel, int stride, int padding,
                int out_channels) {
  const auto [n, h, w, c] = x->value.shape();
  const kernels::Conv2dShape shape{
      .n = n, .h = h, .w = w, .c = c, .out_c = out_channels, .kernel = kernel, .stride = stride, .padding = padding};
  Device& device = pass.device;
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
          kernels::conv2d_backward_weights<T>(
              exec, {.shape = shape, .dw = dw.data, .accumulate = dw.accumulate, .dy = dy, .x = x->value.as<T>()});
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
