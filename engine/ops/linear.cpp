#include "engine/ops/linear.h"

#include "engine/profile.h"
#include "kernels/linear.h"

namespace nepenthe::ops {

Variable linear(Pass& pass, const Variable& x, Parameters& parameters, int weight, int bias, int out) {
  const kernels::LinearShape shape{.rows = x->value.shape().n, .in = x->value.shape().c, .out = out};
  Device& device = pass.device;
  Variable y = make_variable(Tensor(device, {shape.rows, 1, 1, out}));
  const ProfiledRange forward_range(device, "linear_forward");
  std::visit(
      [&](auto& exec) {
        kernels::linear_forward(exec, {.shape = shape,
                                       .y = y->value.data(),
                                       .x = x->value.data(),
                                       .w = parameters.value(weight),
                                       .b = parameters.value(bias)});
      },
      device.exec());
  if (pass.tape != nullptr) {
    pass.tape->push([&device, &parameters, x, y, shape, weight, bias] {
      const ParameterGradient dw = parameters.gradient(weight);
      const ParameterGradient db = parameters.gradient(bias);
      const GradientSlot dx = gradient_slot(device, *x);
      const ProfiledRange range(device, "linear_backward");
      std::visit(
          [&](auto& exec) {
            kernels::linear_backward_weights(exec, {.shape = shape,
                                                    .dw = dw.data,
                                                    .db = db.data,
                                                    .accumulate = dw.accumulate,
                                                    .dy = y->grad.data(),
                                                    .x = x->value.data()});
            kernels::linear_backward_data(exec, {.shape = shape,
                                                 .dx = dx.tensor.data(),
                                                 .accumulate = dx.accumulate,
                                                 .dy = y->grad.data(),
                                                 .w = parameters.value(weight)});
          },
          device.exec());
    });
  }
  return y;
}

}  // namespace nepenthe::ops
