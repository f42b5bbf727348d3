#include "engine/ops/softmax_cross_entropy.h"

#include "engine/profile.h"
#include "kernels/softmax_cross_entropy.h"

namespace nepenthe::ops {

SampleScores softmax_cross_entropy(Pass& pass, const Variable& logits, const std::int32_t* labels, double weight) {
  const kernels::LogitsShape shape{.rows = logits->value.shape().n, .classes = logits->value.shape().c};
  Device& device = pass.device;
  SampleScores scores{.losses = Tensor(device, {shape.rows, 1, 1, 1}),
                      .ranks = DeviceArray<std::int32_t>(device, static_cast<std::size_t>(shape.rows))};
  const ProfiledRange forward_range(device, "softmax_cross_entropy_forward");
  std::visit(
      [&](auto& exec) {
        kernels::softmax_cross_entropy_forward(exec, {.shape = shape,
                                                      .losses = scores.losses.data(),
                                                      .ranks = scores.ranks.data(),
                                                      .logits = logits->value.data(),
                                                      .labels = labels});
      },
      device.exec());
  if (pass.tape != nullptr && weight != 0) {
    pass.tape->push([&device, logits, labels, shape, weight] {
      const GradientSlot dlogits = gradient_slot(device, *logits);
      const ProfiledRange range(device, "softmax_cross_entropy_backward");
      std::visit(
          [&](auto& exec) {
            kernels::softmax_cross_entropy_backward(
                exec, {.shape = shape,
                       .dlogits = dlogits.tensor.data(),
                       .accumulate = dlogits.accumulate,
                       .logits = logits->value.data(),
                       .labels = labels,
                       .scale = static_cast<float>(weight) / static_cast<float>(shape.rows)});
          },
          device.exec());
    });
  }
  return scores;
}

}  // namespace nepenthe::ops
