#include "kernels/distillation.h"

#include <stdexcept>

#include <fmt/core.h>

namespace nepenthe::kernels {

void check(const DistillationBackward& operands) {
  check("distillation", operands.shape);
  if (!(operands.temperature > 0)) {
    throw std::invalid_argument(fmt::format("[distillation] temperature {}: above 0 is needed", operands.temperature));
  }
}

}  // namespace nepenthe::kernels
