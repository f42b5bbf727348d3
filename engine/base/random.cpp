#include "engine/base/random.h"

#include <algorithm>
#include <utility>

namespace nepenthe {

std::vector<std::int32_t> keyed_order(const RandomStream& stream, std::span<const std::int32_t> ids) {
  std::vector<std::pair<std::uint64_t, std::int32_t>> keyed;
  keyed.reserve(ids.size());
  for (const std::int32_t id : ids) keyed.emplace_back(random_u64(stream, static_cast<std::uint32_t>(id)), id);
  std::ranges::sort(keyed);
  std::vector<std::int32_t> order;
  order.reserve(ids.size());
  for (const auto& [key, id] : keyed) order.push_back(id);
  return order;
}

}  // namespace nepenthe
