// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
// Every draw is a pure function of what it is for, so leaving a sample out never changes another sample's numbers.
// Compiles for host and device.
#pragma once

#include <cstdint>

#include "engine/base/host_device.h"

namespace nepenthe {

/// What a stream of random numbers is for. `shard` and `stage` are below 2^16.
struct RandomStream {
  std::uint64_t seed = 1;
  std::uint32_t purpose = 0;  // engine/base/random.h lists them
  std::uint32_t shard = 0;
  std::uint32_t stage = 0;
  std::uint32_t epoch = 0;
};

struct Random4 {
  std::uint32_t x, y, z, w;
};

/// One block of Philox4x32-10: 128 random bits for a 128-bit counter under a 64-bit key.
NEPENTHE_HOST_DEVICE inline Random4 philox(Random4 counter, std::uint64_t key) {
  auto key_x = static_cast<std::uint32_t>(key);
  auto key_y = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product_x = std::uint64_t{0xD2511F53u} * counter.x;
    const std::uint64_t product_z = std::uint64_t{0xCD9E8D57u} * counter.z;
    counter = {static_cast<std::uint32_t>(product_z >> 32) ^ counter.y ^ key_x, static_cast<std::uint32_t>(product_z),
               static_cast<std::uint32_t>(product_x >> 32) ^ counter.w ^ key_y, static_cast<std::uint32_t>(product_x)};
    key_x += 0x9E3779B9u;
    key_y += 0xBB67AE85u;
  }
  return counter;
}

/// The 128 random bits of element `index` (a sample id, the index of a weight …) of a stream.
NEPENTHE_HOST_DEVICE inline Random4 random_bits(const RandomStream& stream, std::uint32_t index) {
  return philox({index, stream.epoch, (stream.shard << 16) | stream.stage, stream.purpose}, stream.seed);
}

/// 64 of those bits as one number.
NEPENTHE_HOST_DEVICE inline std::uint64_t random_u64(const RandomStream& stream, std::uint32_t index) {
  const Random4 bits = random_bits(stream, index);
  return (std::uint64_t{bits.y} << 32) | bits.x;
}

/// Maps 32 random bits to [0, bound), by the high half of the product; the bias is below bound / 2^32.
NEPENTHE_HOST_DEVICE inline std::uint32_t random_below(std::uint32_t bits, std::uint32_t bound) {
  return static_cast<std::uint32_t>((std::uint64_t{bits} * bound) >> 32);
}

/// Maps 64 random bits to a double in [0, 1).
NEPENTHE_HOST_DEVICE inline double random_unit(std::uint64_t bits) {
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

}  // namespace nepenthe
