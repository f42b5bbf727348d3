#include "kernels/gather.h"

#include <stdexcept>

#include <fmt/core.h>

namespace nepenthe::kernels {

void check_rows(const GatherRows& o) {
  if (o.rows <= 0 || o.width <= 0) {
    throw std::invalid_argument(fmt::format("[gather_rows] nothing in (rows, width) = ({}, {})", o.rows, o.width));
  }
}

void check_pictures(const ImageShape& shape, int scale) {
  check("gather", shape);
  if (shape.c != 3) {
    throw std::invalid_argument(fmt::format("[gather] pictures of {} channels: 3 are needed", shape.c));
  }
  if (scale < 1 || shape.h % scale != 0 || shape.w % scale != 0) {
    throw std::invalid_argument(
        fmt::format("[gather] pictures enlarged {} times to {} x {}: no whole sides", scale, shape.h, shape.w));
  }
}

}  // namespace nepenthe::kernels
