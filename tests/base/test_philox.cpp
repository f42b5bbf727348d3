#include "engine/base/philox.h"

#include <doctest/doctest.h>

namespace nepenthe::tests {
namespace {

bool equal(const Random4& a, const Random4& b) { return a.x == b.x && a.y == b.y && a.z == b.z && a.w == b.w; }

// Random123's kat_vectors, philox 4x32 with 10 rounds: the key's low word first.
TEST_CASE("philox: the published known answers") {
  CHECK(equal(philox({0, 0, 0, 0}, 0), {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  CHECK(equal(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, 0xffffffffffffffff),
              {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  CHECK(equal(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822),
              {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST_CASE("philox: every field of a stream matters") {
  const RandomStream base{.seed = 7, .purpose = 1, .shard = 2, .stage = 3, .epoch = 4};
  const auto bits = random_u64(base, 5);
  for (int field = 0; field < 6; ++field) {
    RandomStream other = base;
    if (field == 0) other.seed += std::uint64_t{1} << 32;
    if (field == 1) ++other.purpose;
    if (field == 2) ++other.shard;
    if (field == 3) ++other.stage;
    if (field == 4) ++other.epoch;
    CHECK(random_u64(other, field == 5 ? 6 : 5) != bits);
  }
}

TEST_CASE("random_below and random_unit stay inside and reach the ends") {
  CHECK(random_below(0, 9) == 0);
  CHECK(random_below(0xffffffff, 9) == 8);
  CHECK(random_unit(0) == 0.0);
  CHECK(random_unit(~std::uint64_t{0}) < 1.0);
}

}  // namespace
}  // namespace nepenthe::tests
