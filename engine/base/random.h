// What random numbers are for. All randomness comes from engine/base/philox.h, keyed by (seed, purpose, shard, stage,
// epoch) and the element's own id; nothing depends on positions in a batch or on how much was drawn before.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/philox.h"

namespace nepenthe {

namespace purpose {
inline constexpr std::uint32_t permutation = 1;      // P, by sample id
inline constexpr std::uint32_t order = 2;            // order of an epoch, by sample id
inline constexpr std::uint32_t augmentation = 3;     // crop and flip, by sample id
inline constexpr std::uint32_t initialization = 4;   // weights, by index in the flat parameter buffer
inline constexpr std::uint32_t forget_fraction = 5;  // random:… and …@FRACTION, by sample id
inline constexpr std::uint32_t mia_subset = 6;       // which members and non-members stay, by index
inline constexpr std::uint32_t mia_split = 7;        // cross validation splits, by index; epoch = split
inline constexpr std::uint32_t mia_bootstrap = 8;    // resamples, by draw; epoch = resample
inline constexpr std::uint32_t synthetic = 9;        // the synthetic data set
}  // namespace purpose

/// `ids` sorted by their 64-bit numbers in `stream`, ties by id. So removing an id moves no other.
std::vector<std::int32_t> keyed_order(const RandomStream& stream, std::span<const std::int32_t> ids);

}  // namespace nepenthe
