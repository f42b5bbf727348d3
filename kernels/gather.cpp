#include "kernels/gather.h"

#include <stdexcept>

#include <fmt/core.h>

namespace nepenthe::kernels {

void check_pictures(const ImageShape& shape) {
  check("gather", shape);
  if (shape.c != 3) {
    throw std::invalid_argument(fmt::format("[gather] pictures of {} channels: 3 are needed", shape.c));
  }
}

}  // namespace nepenthe::kernels
