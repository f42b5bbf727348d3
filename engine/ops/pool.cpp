#include "engine/ops/pool.h"

#include "kernels/pool.h"

namespace nepenthe::ops {

Variable global_avg_pool(Graph& graph, const Variable& x) {
  const ImageShape shape = x->value.shape();
  Device& device = graph.device;
  Variable y = make_variable(Tensor(device, {shape.n, 1, 1, shape.c}));
  std::visit([&](auto& exec) { kernels::global_avg_pool_forward(exec, shape, y->value.data(), x->value.data()); },
             device.exec());
  if (graph.tape != nullptr) {
    graph.tape->record([&device, x, y, shape] {
      const GradientSlot dx = gradient_slot(device, *x);
      std::visit(
          [&](auto& exec) { kernels::global_avg_pool_backward(exec, shape, dx.data, dx.accumulate, y->grad.data()); },
          device.exec());
    });
  }
  return y;
}

}  // namespace nepenthe::ops
