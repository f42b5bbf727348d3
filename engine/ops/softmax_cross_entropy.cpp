#include "engine/ops/softmax_cross_entropy.h"

#include "kernels/elementwise.h"
#include "kernels/softmax_cross_entropy.h"

namespace nepenthe::ops {

float softmax_cross_entropy(Graph& graph, const Variable& logits, const std::int32_t* labels) {
  const kernels::LogitsShape shape{.rows = logits->value.shape().n, .classes = logits->value.shape().c};
  Device& device = graph.device;
  const Tensor losses(device, {shape.rows, 1, 1, 1});
  const float loss = std::visit(
      [&](auto& exec) {
        kernels::softmax_cross_entropy_forward(exec, shape, losses.data(), logits->value.data(), labels);
        return kernels::mean(exec, shape.rows, losses.data());
      },
      device.exec());
  if (graph.tape != nullptr) {
    graph.tape->record([&device, logits, labels, shape] {
      float* dlogits = sole_gradient(device, *logits);
      std::visit(
          [&](auto& exec) {
            kernels::softmax_cross_entropy_backward(exec, shape, dlogits, logits->value.data(), labels,
                                                    1.0f / static_cast<float>(shape.rows));
          },
          device.exec());
    });
  }
  return loss;
}

}  // namespace nepenthe::ops
