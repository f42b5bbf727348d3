#include "engine/layers.h"

namespace nepenthe {

Conv2d::Conv2d(ParameterLayout& layout, const std::string& name, int in, int out, int kernel, int stride)
    : in_(in),
      out_(out),
      kernel_(kernel),
      stride_(stride),
      weight_(layout.add(name + ".weight", Role::conv_weight, {out, in, kernel, kernel})) {}

std::int64_t Conv2d::multiply_adds(int& side) const {
  side = (side + 2 * (kernel_ / 2) - kernel_) / stride_ + 1;
  return std::int64_t{side} * side * kernel_ * kernel_ * in_ * out_;
}

BatchNorm2d::BatchNorm2d(ParameterLayout& layout, const std::string& name, int channels)
    : tensors_{.weight = layout.add(name + ".weight", Role::norm_weight, {channels}),
               .bias = layout.add(name + ".bias", Role::norm_bias, {channels}),
               .running_mean = layout.add(name + ".running_mean", Role::running_mean, {channels}),
               .running_var = layout.add(name + ".running_var", Role::running_var, {channels})} {}

Linear::Linear(ParameterLayout& layout, const std::string& name, int in, int out, ParameterGroup group)
    : in_(in),
      out_(out),
      weight_(layout.add(name + ".weight", Role::linear_weight, {out, in}, in, group)),
      bias_(layout.add(name + ".bias", Role::linear_bias, {out}, in, group)) {}

}  // namespace nepenthe
