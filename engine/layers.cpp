#include "engine/layers.h"

namespace nepenthe {

Conv2d::Conv2d(ParameterLayout& layout, const std::string& name, int in, int out, int kernel, int stride)
    : in_(in),
      tensors_{.weight = layout.add(name + ".weight", Role::conv_weight, {out, in, kernel, kernel}),
               .kernel = kernel,
               .stride = stride,
               .padding = kernel / 2,
               .out_channels = out} {}

std::int64_t Conv2d::multiply_adds(int& side) const {
  const auto& [weight, kernel, stride, padding, out] = tensors_;
  side = (side + 2 * padding - kernel) / stride + 1;
  return std::int64_t{side} * side * kernel * kernel * in_ * out;
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
