// The seeded order of the training samples, and where the borders of shards and slices lie in it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace nepenthe {

/// P: the ids 0 … samples−1 sorted by their keyed 64-bit numbers (purpose::permutation), ties by id; P[position] = id.
/// STUDY §1. Throws UsageError where there are no samples.
std::vector<std::int32_t> make_permutation(int samples, std::uint64_t seed);

/// The inverse: result[id] = position. Throws std::invalid_argument where `permutation` is none.
std::vector<std::int32_t> positions_of(std::span<const std::int32_t> permutation);

/// Half-open range of positions in P.
struct PositionRange {
  int begin = 0, end = 0;
  int size() const { return end - begin; }
  bool operator==(const PositionRange&) const = default;
};

/// The borders of SISA (Bourtoule et al., "Machine unlearning", S&P 2021; STUDY §1): shard k of S holds the positions
/// [⌊kN/S⌋, ⌊(k+1)N/S⌋), its slices are cut likewise. Shards count from 0, slices from 1. Borders depend on nothing
/// else: forgetting moves none.
class Partition {
 public:
  /// Throws UsageError where a number is not positive, where there are more shards than samples or where a slice would
  /// be empty, with the numbers that would be right. At most 65 535 shards and slices (16 bits each in a stream).
  Partition(int samples, int shards, int slices);

  int samples() const { return samples_; }
  int shards() const { return shards_; }
  int slices() const { return slices_; }

  /// Throw std::out_of_range for a shard outside 0 … S−1 or a slice outside 1 … R.
  PositionRange shard(int k) const;
  PositionRange slice(int k, int t) const;

  struct Place {
    int shard, slice;
    bool operator==(const Place&) const = default;
  };
  /// The shard and slice that hold a position; throws std::out_of_range outside 0 … N−1.
  Place slice_of(int position) const;

 private:
  int samples_, shards_, slices_;
};

}  // namespace nepenthe
