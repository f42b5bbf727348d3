#include "kernels/optimizers.h"

#include <stdexcept>

#include <fmt/core.h>

namespace nepenthe::kernels {

void check(std::span<const Segment> segments) {
  if (segments.size() > StepControl::parameter_groups) {
    throw std::invalid_argument(fmt::format("[optimizers] {} segments: at most {} have a learning rate",
                                            segments.size(), std::size_t{StepControl::parameter_groups}));
  }
}

}  // namespace nepenthe::kernels
