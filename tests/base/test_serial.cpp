#include "engine/base/serial.h"

#include <doctest/doctest.h>

#include <optional>
#include <set>

using nepenthe::Serial;

TEST_CASE("serial: no two objects have the same, whatever they are copies of and wherever they lie") {
  std::set<std::uint64_t> seen;
  const auto is_new = [&](const Serial& serial) { return seen.insert(serial.number()).second; };
  std::optional<Serial> place;
  for (int i = 0; i < 3; ++i) CHECK(is_new(place.emplace()));
  const Serial copy = *place;
  CHECK(is_new(copy));
  *place = copy;
  CHECK(is_new(*place));
  CHECK_FALSE(is_new(copy));  // it keeps its own
}
