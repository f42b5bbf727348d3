#include "engine/parameter_layout.h"

#include <functional>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace nepenthe {

bool is_statistic(Role role) { return role == Role::running_mean || role == Role::running_var; }

int ParameterLayout::add(std::string name, Role role, std::vector<std::int64_t> shape, std::int64_t fan_in,
                         ParameterGroup group) {
  if (group == ParameterGroup::backbone && !specs_.empty() && specs_.back().group == ParameterGroup::head) {
    throw std::logic_error("[parameter_layout] " + name + ": the backbone comes before the head");
  }
  const auto size = static_cast<std::size_t>(
      std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<std::int64_t>()));
  std::size_t& end = is_statistic(role) ? statistic_floats_ : parameter_floats_;
  specs_.push_back({std::move(name), role, std::move(shape), fan_in, group, end, size});
  end += (size + alignment - 1) / alignment * alignment;
  if (group == ParameterGroup::backbone) head_begin_ = parameter_floats_;
  return static_cast<int>(specs_.size()) - 1;
}

std::int64_t ParameterLayout::parameter_count() const {
  std::int64_t count = 0;
  for (const ParameterSpec& spec : specs_) {
    if (!is_statistic(spec.role)) count += static_cast<std::int64_t>(spec.size);
  }
  return count;
}

ParameterLayout::Range ParameterLayout::range(ParameterGroup group) const {
  if (group == ParameterGroup::backbone) return {0, head_begin_};
  return {head_begin_, parameter_floats_};
}

}  // namespace nepenthe
