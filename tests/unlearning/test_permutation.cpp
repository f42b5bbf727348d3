#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/base/error.h"
#include "engine/base/random.h"
#include "unlearning/permutation.h"

using namespace nepenthe;

namespace {

std::string message(int samples, int shards, int slices) {
  try {
    Partition(samples, shards, slices);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("permutation: ids sorted by their keyed numbers") {
  for (const int n : {1, 2, 17, 1000}) {
    for (const std::uint64_t seed : {std::uint64_t{1}, std::uint64_t{2}, ~std::uint64_t{0}}) {
      const auto p = make_permutation(n, seed);
      REQUIRE(p.size() == static_cast<std::size_t>(n));
      const auto key = [&](std::int32_t id) {
        return random_u64({.seed = seed, .purpose = purpose::permutation}, static_cast<std::uint32_t>(id));
      };
      for (std::size_t i = 1; i < p.size(); ++i) CHECK(key(p[i - 1]) < key(p[i]));
      auto sorted = p;
      std::ranges::sort(sorted);
      for (int i = 0; i < n; ++i) CHECK(sorted[static_cast<std::size_t>(i)] == i);
      const auto positions = positions_of(p);
      for (std::size_t i = 0; i < p.size(); ++i)
        CHECK(positions[static_cast<std::size_t>(p[i])] == static_cast<std::int32_t>(i));
      CHECK(p == make_permutation(n, seed));
    }
  }
  CHECK(make_permutation(1000, 1) != make_permutation(1000, 2));
  CHECK_THROWS_AS(make_permutation(0, 1), UsageError);
}

TEST_CASE("permutation: the inverse refuses what is none") {
  CHECK_THROWS_AS(positions_of(std::vector<std::int32_t>{0, 0}), std::invalid_argument);
  CHECK_THROWS_AS(positions_of(std::vector<std::int32_t>{0, 2}), std::invalid_argument);
  CHECK_THROWS_AS(positions_of(std::vector<std::int32_t>{0, -1}), std::invalid_argument);
}

TEST_CASE("partition: the study's borders") {
  const Partition partition(50'000, 4, 5);
  CHECK(partition.shard(1) == PositionRange{12'500, 25'000});
  CHECK(partition.slice(1, 4) == PositionRange{20'000, 22'500});
  CHECK(partition.slice(2, 2) == PositionRange{27'500, 30'000});
  CHECK(partition.slice_of(20'000) == Partition::Place{1, 4});
  CHECK(partition.slice_of(29'999) == Partition::Place{2, 2});
  CHECK(partition.slice_of(49'999) == Partition::Place{3, 5});
}

TEST_CASE("partition: every position lies in exactly the shard and slice that slice_of names") {
  for (int n = 1; n <= 60; ++n)
    for (int shards = 1; shards <= n; ++shards)
      for (int slices = 1; slices <= n / shards; ++slices) {
        const Partition partition(n, shards, slices);
        int next = 0;
        for (int k = 0; k < shards; ++k) {
          REQUIRE(partition.shard(k).begin == next);
          REQUIRE(partition.shard(k).begin == k * n / shards);
          for (int t = 1; t <= slices; ++t) {
            const PositionRange slice = partition.slice(k, t);
            REQUIRE(slice.begin == next);
            REQUIRE(slice.size() > 0);
            for (; next < slice.end; ++next) REQUIRE(partition.slice_of(next) == Partition::Place{k, t});
          }
          REQUIRE(partition.shard(k).end == next);
        }
        REQUIRE(next == n);
      }
}

TEST_CASE("partition: large numbers do not overflow") {
  const int n = 2'000'000'000;
  const Partition partition(n, 60'000, 30'000);
  CHECK(partition.shard(59'999).end == n);
  CHECK(partition.slice(59'999, 30'000).end == n);
  CHECK(partition.slice_of(n - 1) == Partition::Place{59'999, 30'000});
}

TEST_CASE("partition: wrong numbers are answered with right ones") {
  CHECK(message(3, 4, 1) == "4 shards are more than the 3 samples: use at most 3");
  CHECK(message(18, 4, 5) ==
        "5 slices leave one empty, since the smallest of 4 shards of 18 samples has 4: use at most 4 slices, or at "
        "most 3 shards");
  CHECK(message(3, 1, 5) ==
        "5 slices leave one empty, since the smallest of 1 shards of 3 samples has 3: use at most 3 slices");
  CHECK(message(10, 0, 1) == "0 shards: use 1 to 10");
  CHECK(message(10, 2, -1) == "-1 slices: use 1 to 5");
  CHECK(message(0, 1, 1) == "0 samples cannot be divided: at least 1 is needed");
  CHECK(message(1'000'000, 70'000, 1) == "70000 shards: use 1 to 65535");
  // What a message proposes is accepted, one more is not.
  for (int n = 1; n <= 40; ++n)
    for (int shards = 1; shards <= n; ++shards) {
      CHECK(message(n, shards, n / shards).empty());
      CHECK(message(n, shards, n / shards + 1).find("use at most " + std::to_string(n / shards) + " slices") !=
            std::string::npos);
    }
  const Partition partition(10, 2, 2);
  CHECK_THROWS_AS(partition.shard(2), std::out_of_range);
  CHECK_THROWS_AS(partition.slice(0, 0), std::out_of_range);
  CHECK_THROWS_AS(partition.slice(0, 3), std::out_of_range);
  CHECK_THROWS_AS(partition.slice_of(10), std::out_of_range);
  CHECK_THROWS_AS(partition.slice_of(-1), std::out_of_range);
}
