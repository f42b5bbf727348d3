#include "engine/ops/conv2d.h"

#include "kernels/conv2d.h"

namespace nepenthe::ops {

Variable conv2d(Graph& graph, const Variable& x, Parameters& parameters, int weight, int kernel, int stride,
                int padding, int out_channels) {
  const auto [n, h, w, c] = x->value.shape();
  const kernels::Conv2dShape shape{
      .n = n, .h = h, .w = w, .c = c, .out_c = out_channels, .kernel = kernel, .stride = stride, .padding = padding};
  Device& device = graph.device;
  Variable y = make_variable(Tensor(device, shape.output()));
  std::visit(
      [&](auto& exec) {
        kernels::conv2d_forward(exec, shape, y->value.data(), x->value.data(), parameters.value(weight));
      },
      device.exec());
  if (graph.tape != nullptr) {
    graph.tape->record([&device, &parameters, x, y, shape, weight] {
      std::visit(
          [&](auto& exec) {
            const GradientSlot dw = parameters.gradient(weight);
            kernels::conv2d_backward_weights(exec, shape, dw.data, dw.accumulate, y->grad.data(), x->value.data());
            if (!x->needs_grad) return;
            const GradientSlot dx = gradient_slot(device, *x);
            kernels::conv2d_backward_data(exec, shape, dx.data, dx.accumulate, y->grad.data(),
                                          parameters.value(weight));
          },
          device.exec());
    });
  }
  return y;
}

}  // namespace nepenthe::ops
