#include "unlearning/permutation.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include <fmt/format.h>

#include "engine/base/error.h"
#include "engine/base/random.h"

namespace nepenthe {
namespace {

constexpr int most_parts = 65'535;

int border(int index, int length, int parts) { return static_cast<int>(std::int64_t{index} * length / parts); }

// The part that holds an offset: the largest k with ⌊k·length/parts⌋ ≤ offset.
int part_of(int offset, int length, int parts) {
  return static_cast<int>(((std::int64_t{offset} + 1) * parts - 1) / length);
}

}  // namespace

std::vector<std::int32_t> make_permutation(int samples, std::uint64_t seed) {
  if (samples < 1) throw UsageError(fmt::format("a permutation of {} samples: at least 1 is needed", samples));
  std::vector<std::int32_t> ids(static_cast<std::size_t>(samples));
  std::iota(ids.begin(), ids.end(), 0);
  return keyed_order({.seed = seed, .purpose = purpose::permutation}, ids);
}

std::vector<std::int32_t> positions_of(std::span<const std::int32_t> permutation) {
  std::vector<std::int32_t> positions(permutation.size(), -1);
  for (std::size_t position = 0; position < permutation.size(); ++position) {
    const auto id = static_cast<std::size_t>(permutation[position]);
    if (id >= positions.size() || positions[id] >= 0)
      throw std::invalid_argument(fmt::format("[permutation] id {} at position {} of {} is out of range or there twice",
                                              permutation[position], position, permutation.size()));
    positions[id] = static_cast<std::int32_t>(position);
  }
  return positions;
}

Partition::Partition(int samples, int shards, int slices) : samples_(samples), shards_(shards), slices_(slices) {
  if (samples < 1) throw UsageError(fmt::format("{} samples cannot be divided: at least 1 is needed", samples));
  if (shards < 1 || shards > most_parts)
    throw UsageError(fmt::format("{} shards: use 1 to {}", shards, std::min(samples, most_parts)));
  if (shards > samples)
    throw UsageError(fmt::format("{} shards are more than the {} samples: use at most {}", shards, samples,
                                 std::min(samples, most_parts)));
  const int smallest = samples / shards;
  if (slices < 1 || slices > most_parts)
    throw UsageError(fmt::format("{} slices: use 1 to {}", slices, std::min(smallest, most_parts)));
  if (slices > smallest) {
    const int most_shards = samples / slices;
    throw UsageError(fmt::format(
        "{} slices leave one empty, since the smallest of {} shards of {} samples has {}: use at most {} slices{}",
        slices, shards, samples, smallest, smallest,
        most_shards > 0 ? fmt::format(", or at most {} shards", most_shards) : std::string()));
  }
}

PositionRange Partition::shard(int k) const {
  if (k < 0 || k >= shards_) throw std::out_of_range(fmt::format("[partition] shard {} of {}", k, shards_));
  return {border(k, samples_, shards_), border(k + 1, samples_, shards_)};
}

PositionRange Partition::slice(int k, int t) const {
  const PositionRange whole = shard(k);
  if (t < 1 || t > slices_) throw std::out_of_range(fmt::format("[partition] slice {} of 1 to {}", t, slices_));
  return {whole.begin + border(t - 1, whole.size(), slices_), whole.begin + border(t, whole.size(), slices_)};
}

Partition::Place Partition::slice_of(int position) const {
  if (position < 0 || position >= samples_)
    throw std::out_of_range(fmt::format("[partition] position {} of {}", position, samples_));
  const int k = part_of(position, samples_, shards_);
  const PositionRange whole = shard(k);
  return {k, 1 + part_of(position - whole.begin, whole.size(), slices_)};
}

}  // namespace nepenthe
