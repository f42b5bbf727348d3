// Which numbers an architecture has and where each stands in a model's flat buffers; no device, no numbers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace nepenthe {

/// How a tensor of the state is initialised, and (for filters) laid out.
enum class Role { conv_weight, norm_weight, norm_bias, linear_weight, linear_bias, running_mean, running_var };
bool is_statistic(Role role);

/// Parts of a network that are trained or replaced apart: the head maps features to classes.
enum class ParameterGroup { backbone, head };
inline constexpr std::array parameter_groups{ParameterGroup::backbone, ParameterGroup::head};

/// One named tensor of the state. `shape` is PyTorch's; filters lie in memory as (K, R, S, C) where PyTorch's order is
/// (K, C, R, S). `offset` counts floats, in the parameter buffer or (running_*) in the statistics buffer.
struct ParameterSpec {
  std::string name;
  Role role;
  std::vector<std::int64_t> shape;
  std::int64_t fan_in;  // of linear layers, for the initialisation
  ParameterGroup group;
  std::size_t offset;
  std::size_t size;
};

/// Each tensor starts at a multiple of `alignment` floats; what lies between stays zero.
class ParameterLayout {
 public:
  static constexpr std::size_t alignment = 16;

  /// Adds a tensor and returns its index in specs(). The backbone comes before the head; throws std::logic_error where
  /// it does not.
  int add(std::string name, Role role, std::vector<std::int64_t> shape, std::int64_t fan_in = 0,
          ParameterGroup group = ParameterGroup::backbone);

  const std::vector<ParameterSpec>& specs() const { return specs_; }
  std::size_t parameter_floats() const { return parameter_floats_; }
  std::size_t statistic_floats() const { return statistic_floats_; }
  /// Trainable numbers, without padding.
  std::int64_t parameter_count() const;

  /// Where a group's parameters stand in the parameter buffer: [begin, end).
  struct Range {
    std::size_t begin, end;
  };
  Range range(ParameterGroup group) const;

 private:
  std::vector<ParameterSpec> specs_;
  std::size_t parameter_floats_ = 0;
  std::size_t statistic_floats_ = 0;
  std::size_t head_begin_ = 0;  // where the backbone's parameters end
};

}  // namespace nepenthe
