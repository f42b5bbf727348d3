#include "engine/ops/distillation.h"

#include "engine/profile.h"
#include "kernels/distillation.h"

namespace nepenthe::ops {

void distillation(Pass& pass, const Variable& logits, const Tensor& teacher, double temperature, double weight) {
  if (pass.tape == nullptr) return;
  const kernels::LogitsShape shape{.rows = logits->value.shape().n, .classes = logits->value.shape().c};
  pass.tape->push([&device = pass.device, logits, teacher, shape, temperature, weight] {
    const GradientSlot dlogits = gradient_slot(device, *logits);
    const ProfiledRange range(device, "distillation_backward");
    std::visit(
        [&](auto& exec) {
          kernels::distillation_backward(exec, {.shape = shape,
                                                .dlogits = dlogits.tensor.data(),
                                                .accumulate = dlogits.accumulate,
                                                .student = logits->value.data(),
                                                .teacher = teacher.data(),
                                                .temperature = static_cast<float>(temperature),
                                                .scale = static_cast<float>(weight) / static_cast<float>(shape.rows)});
        },
        device.exec());
  });
}

}  // namespace nepenthe::ops
