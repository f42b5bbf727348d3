#include "kernels/bf16.h"

#include <bit>
#include <cmath>

#include "bf16_cases.h"
#include "harness.h"

namespace nepenthe::tests {
namespace {

using kernels::bf16;
using kernels::to_bf16;
using kernels::to_float;

TEST_CASE("bf16: rounds to nearest, ties to even; NaN stays one") {
  for (const Bf16Case& c : bf16_cases) {
    CAPTURE(c.from);
    CHECK(to_bf16(std::bit_cast<float>(c.from)).bits == c.to);
  }
  for (const std::uint32_t bits : nan_cases) {
    CAPTURE(bits);
    CHECK(std::isnan(to_float(to_bf16(std::bit_cast<float>(bits)))));
  }
}

TEST_CASE("bf16: every number of it is fp32's with the same upper half, and comes back") {
  int wrong = 0;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float wide = to_float(bf16{static_cast<std::uint16_t>(bits)});
    wrong += std::bit_cast<std::uint32_t>(wide) != bits << 16;
    wrong += std::isnan(wide) ? !std::isnan(to_float(to_bf16(wide))) : to_bf16(wide).bits != bits;
  }
  CHECK(wrong == 0);
}

TEST_CASE("bf16: no neighbour is nearer than the number rounded to") {
  int wrong = 0;
  for (const float x : random_floats(20000, 1, 100)) {
    const bf16 rounded = to_bf16(x);
    const double error = std::abs(double{to_float(rounded)} - x);
    for (const int step : {-1, 1}) {
      const bf16 neighbour{static_cast<std::uint16_t>(rounded.bits + step)};
      wrong += std::abs(double{to_float(neighbour)} - x) < error;
    }
    wrong += error > 0x1.0p-8 * std::abs(x);
  }
  CHECK(wrong == 0);
}

}  // namespace
}  // namespace nepenthe::tests
