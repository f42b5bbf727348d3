#include "kernels/shapes.h"

#include <stdexcept>

#include <fmt/core.h>

namespace nepenthe::kernels {

std::string text(const Conv2dShape& s) {
  return fmt::format("input (N, H, W, C) = ({}, {}, {}, {}), {} filters of {} x {}, stride {}, padding {}", s.n, s.h,
                     s.w, s.c, s.out_c, s.kernel, s.kernel, s.stride, s.padding);
}

void check(std::string_view op, const ImageShape& s) {
  if (s.n <= 0 || s.h <= 0 || s.w <= 0 || s.c <= 0) {
    throw std::invalid_argument(fmt::format("[{}] nothing in (N, H, W, C) = ({}, {}, {}, {})", op, s.n, s.h, s.w, s.c));
  }
}

void check(std::string_view op, const Conv2dShape& s) {
  const bool positive = s.n > 0 && s.h > 0 && s.w > 0 && s.c > 0 && s.out_c > 0 && s.kernel > 0 && s.stride > 0;
  // Not by out_h(): a division rounds towards zero, so that it is 1 for a kernel slightly too large.
  if (!positive || s.padding < 0 || s.h + 2 * s.padding < s.kernel || s.w + 2 * s.padding < s.kernel) {
    throw std::invalid_argument(fmt::format("[{}] no output for {}", op, text(s)));
  }
}

void check(std::string_view op, const PoolShape& s) {
  check(op, s.input());
  constexpr int widest = 16;  // a place in a window fits a byte
  const bool window = s.kernel > 0 && s.kernel <= widest && s.stride > 0 && s.padding >= 0 && 2 * s.padding <= s.kernel;
  if (!window || s.h + 2 * s.padding < s.kernel || s.w + 2 * s.padding < s.kernel) {
    throw std::invalid_argument(fmt::format(
        "[{}] no output for input (N, H, W, C) = ({}, {}, {}, {}), windows of {} x {}, stride {}, padding {}", op, s.n,
        s.h, s.w, s.c, s.kernel, s.kernel, s.stride, s.padding));
  }
}

void check(std::string_view op, const LinearShape& s) {
  if (s.rows <= 0 || s.in <= 0 || s.out <= 0) {
    throw std::invalid_argument(fmt::format("[{}] no product for ({}, {}) · ({}, {})", op, s.rows, s.in, s.in, s.out));
  }
}

void check(std::string_view op, const LogitsShape& s) {
  if (s.rows <= 0 || s.classes <= 0) {
    throw std::invalid_argument(fmt::format("[{}] nothing in (rows, classes) = ({}, {})", op, s.rows, s.classes));
  }
}

}  // namespace nepenthe::kernels
