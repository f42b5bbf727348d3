// bfloat16: the upper half of an fp32 number. Storage alone; all arithmetic is in fp32. Compiles for host and device.
#pragma once

#include <bit>
#include <cstdint>

#include "engine/base/host_device.h"

namespace nepenthe::kernels {

struct bf16 {
  std::uint16_t bits;
};

NEPENTHE_HOST_DEVICE inline float to_float(float value) { return value; }
NEPENTHE_HOST_DEVICE inline float to_float(bf16 value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}

/// Rounds to nearest, ties to even; a NaN stays one.
NEPENTHE_HOST_DEVICE inline bf16 to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

}  // namespace nepenthe::kernels
