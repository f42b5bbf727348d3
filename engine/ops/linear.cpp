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
        kernels::linear_forward(exec, shape, y->value.data(), x->value.data(), parameters.value(weight),
                                parameters.value(bias));
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
            kernels::linear_backward_weights(exec, shape, dw.data, db.data, dw.accumulate, y->grad.data(),
                                             x->value.data());
            kernels::linear_backward_data(exec, shape, dx.tensor.data(), dx.accumulate, y->grad.data(),
                                          parameters.value(weight));
          },
          device.exec());
    });
  }
  return y;
}

}  // namespace nepenthe::ops
