// TF32: fp32's range with ten bits of mantissa, as tensor cores read it.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace nepenthe::tests {

/// Rounds to nearest, ties to even.
inline float round_to_tf32(float value) {
  if (!std::isfinite(value)) return value;
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return std::bit_cast<float>((bits + 0xfffu + ((bits >> 13) & 1u)) & ~0x1fffu);
}

}  // namespace nepenthe::tests
