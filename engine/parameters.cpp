#include "engine/parameters.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <set>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/profile.h"
#include "kernels/conv2d.h"
#include "kernels/elementwise.h"

namespace nepenthe {
namespace {

/// Calls visit(position in PyTorch's order, position in ours) for every element of a tensor.
template <class Visit>
void for_each_element(const ParameterSpec& spec, Visit visit) {
  if (spec.role != Role::conv_weight) {
    for (std::size_t i = 0; i < spec.size; ++i) visit(i, i);
    return;
  }
  const std::size_t filters = spec.shape[0], channels = spec.shape[1], taps = spec.shape[2] * spec.shape[3];
  for (std::size_t k = 0; k < filters; ++k) {
    for (std::size_t c = 0; c < channels; ++c) {
      for (std::size_t tap = 0; tap < taps; ++tap) {
        visit((k * channels + c) * taps + tap, (k * taps + tap) * channels + c);
      }
    }
  }
}

/// A standard normal number by the Box-Muller transform, in double.
double random_normal(const RandomStream& stream, std::uint32_t index) {
  const Random4 bits = random_bits(stream, index);
  const double radius = std::sqrt(-2.0 * std::log((bits.x + 0.5) * 0x1.0p-32));
  return radius * std::cos(2.0 * std::numbers::pi * (bits.y + 0.5) * 0x1.0p-32);
}

float initial_value(const ParameterSpec& spec, const RandomStream& stream, std::uint32_t index) {
  switch (spec.role) {
    case Role::conv_weight: {  // Kaiming normal, fan out, gain √2 (He et al. 2015)
      const double fan_out = static_cast<double>(spec.shape[0] * spec.shape[2] * spec.shape[3]);
      return static_cast<float>(std::sqrt(2.0 / fan_out) * random_normal(stream, index));
    }
    case Role::linear_weight:
    case Role::linear_bias: {  // uniform in ±1/√in, as PyTorch's Linear; a bias carries its layer's `in` as fan_in
      const double bound = 1.0 / std::sqrt(static_cast<double>(spec.fan_in));
      return static_cast<float>((2.0 * random_unit(random_u64(stream, index)) - 1.0) * bound);
    }
    case Role::norm_weight:
    case Role::running_var: return 1.0f;
    case Role::norm_bias:
    case Role::running_mean: return 0.0f;
  }
  return 0.0f;
}

/// A weight as the file has it: one beyond fp32's range reads as infinite.
double as_given(const HostTensor& tensor, std::size_t element, float read) {
  double given = read;
  if (tensor.dtype == DType::f64) std::memcpy(&given, tensor.bytes.data() + element * sizeof given, sizeof given);
  return given;
}

/// With such a number a network answers nonsense, without a word: NaN ranks behind every class.
void require_usable(const ParameterSpec& spec, const HostTensor& tensor, const std::vector<float>& values) {
  const bool variance = spec.role == Role::running_var;
  const auto wrong =
      std::ranges::find_if(values, [=](float value) { return !std::isfinite(value) || (variance && value < 0); });
  if (wrong == values.end()) return;
  const auto element = static_cast<std::size_t>(wrong - values.begin());
  throw Error(fmt::format("the weights' tensor {} has {} at {}; a finite number {}would be right", spec.name,
                          as_given(tensor, element, *wrong), place(spec.shape, element),
                          variance ? "of at least 0 " : "within fp32's range "));
}

}  // namespace

std::string misfit(const ParameterLayout& layout, const StateDict& state) {
  std::vector<std::string> missing, left_over, shapes, types;
  std::set<std::string_view> known;
  for (const ParameterSpec& spec : layout.specs()) {
    known.insert(spec.name);
    const HostTensor* tensor = state.find(spec.name);
    if (tensor == nullptr) {
      missing.push_back(fmt::format("{} {}", spec.name, to_string(spec.shape)));
    } else if (tensor->shape != spec.shape) {
      shapes.push_back(fmt::format("{} {} instead of {}", spec.name, to_string(tensor->shape), to_string(spec.shape)));
    } else if (!is_float(tensor->dtype)) {
      types.push_back(fmt::format("{} {} instead of F32, F64, F16 or BF16", spec.name, name(tensor->dtype)));
    }
  }
  for (const auto& [tensor_name, tensor] : state.entries) {
    if (!known.contains(tensor_name) && !tensor_name.ends_with("num_batches_tracked")) {
      left_over.push_back(printable(tensor_name));
    }
  }
  std::vector<std::string> groups;
  const auto add = [&](std::string_view what, const std::vector<std::string>& tensors) {
    if (!tensors.empty()) groups.push_back(fmt::format("{}: {}", what, fmt::join(tensors, ", ")));
  };
  add("missing", missing);
  add("left over", left_over);
  add("of another shape", shapes);
  add("of another type", types);
  return fmt::format("{}", fmt::join(groups, "; "));
}

Parameters::Parameters(Device& device, ParameterLayout layout)
    : device_(&device),
      layout_(std::move(layout)),
      values_(device, std::vector<float>(layout_.parameter_floats())),
      gradients_(device, std::vector<float>(layout_.parameter_floats())),
      statistics_(device, std::vector<float>(layout_.statistic_floats())),
      rounded_(device.activation_type() == ElementType::bf16
                   ? DeviceArray<kernels::bf16>(device, std::vector<kernels::bf16>(layout_.parameter_floats()))
                   : DeviceArray<kernels::bf16>()),
      gradient_written_(layout_.specs().size()) {
  using kernels::bf16, kernels::Gradients;
  static_assert(ParameterLayout::alignment % Gradients::stretch == 0);
  const bool narrow = std::visit([](auto& exec) { return kernels::writes_narrow_gradients(exec); }, device.exec());
  if (!narrow || device.activation_type() != ElementType::bf16) return;
  narrow_gradients_ = DeviceArray<bf16>(device, std::vector<bf16>(layout_.parameter_floats()));
  std::vector<std::uint8_t> is_narrow(layout_.parameter_floats() / Gradients::stretch);
  for (const ParameterSpec& spec : layout_.specs()) {
    if (spec.role != Role::conv_weight) continue;
    for (std::size_t i = 0; i < spec.size; i += Gradients::stretch) {
      is_narrow[(spec.offset + i) / Gradients::stretch] = 1;
    }
  }
  is_narrow_ = DeviceArray<std::uint8_t>(device, is_narrow);
}

float* Parameters::value(int index) const {
  const ParameterSpec& spec = layout_.specs()[index];
  return (is_statistic(spec.role) ? statistics() : values()) + spec.offset;
}

void Parameters::values_changed() {
  if (rounded_.size() == 0) return;
  std::visit([&](auto& exec) { kernels::cast(exec, values_.size(), rounded_.data(), values()); }, device_->exec());
}

void Parameters::begin_step() {
  gradient_written_.assign(gradient_written_.size(), false);
  filters_are_narrow_ = narrow_gradients_.size() != 0;
}

ParameterGradient Parameters::gradient(int index) {
  using kernels::Accumulate;
  const ParameterSpec& spec = layout_.specs()[index];
  const bool filters = spec.role == Role::conv_weight, written = gradient_written_[index];
  if (filters && written) widen_gradients();
  gradient_written_[index] = true;
  return {.data = gradients_.data() + spec.offset,
          .narrow = filters && filters_are_narrow_ ? narrow_gradients_.data() + spec.offset : nullptr,
          .accumulate = written ? Accumulate::add : Accumulate::assign};
}

void Parameters::widen_gradients() {
  if (!filters_are_narrow_) return;
  filters_are_narrow_ = false;
  auto& exec = std::get<kernels::CudaExec>(device_->exec());  // no other backend writes them so
  const ProfiledRange range(*device_, "widen_gradients");
  for (std::size_t i = 0; i < layout_.specs().size(); ++i) {
    const ParameterSpec& spec = layout_.specs()[i];
    if (spec.role != Role::conv_weight || !gradient_written_[i]) continue;
    kernels::cast(exec, spec.size, gradients_.data() + spec.offset, kernels::Accumulate::assign,
                  narrow_gradients_.data() + spec.offset);
  }
}

float* Parameters::gradients() {
  widen_gradients();
  return gradients_.data();
}

kernels::Gradients Parameters::written_gradients() const {
  if (!filters_are_narrow_) return {.wide = gradients_.data()};
  return {.wide = gradients_.data(), .narrow = narrow_gradients_.data(), .is_narrow = is_narrow_.data()};
}

void Parameters::initialize(const RandomStream& stream) {
  std::vector<float> values(values_.size()), statistics(statistics_.size());
  std::uint32_t index = 0;  // counts elements in PyTorch's order, over all tensors
  for (const ParameterSpec& spec : layout_.specs()) {
    float* out = (is_statistic(spec.role) ? statistics : values).data() + spec.offset;
    for_each_element(spec, [&](std::size_t torch, std::size_t ours) {
      out[ours] = initial_value(spec, stream, index + static_cast<std::uint32_t>(torch));
    });
    index += static_cast<std::uint32_t>(spec.size);
  }
  device_->upload(this->values(), values.data(), values.size());
  device_->upload(this->statistics(), statistics.data(), statistics.size());
  values_changed();
}

StateDict Parameters::state_dict() const {
  const std::vector<float> values = device_->download(this->values(), values_.size());
  const std::vector<float> statistics = device_->download(this->statistics(), statistics_.size());
  StateDict state;
  for (const ParameterSpec& spec : layout_.specs()) {
    const float* in = (is_statistic(spec.role) ? statistics : values).data() + spec.offset;
    std::vector<float> tensor(spec.size);
    for_each_element(spec, [&](std::size_t torch, std::size_t ours) { tensor[torch] = in[ours]; });
    state.add(spec.name, HostTensor::from(spec.shape, tensor));
  }
  return state;
}

void Parameters::load_state_dict(const StateDict& state) {
  if (const std::string wrong = misfit(layout_, state); !wrong.empty()) throw Error(wrong);
  std::vector<float> values(values_.size()), statistics(statistics_.size());
  for (const ParameterSpec& spec : layout_.specs()) {
    const HostTensor& tensor = *state.find(spec.name);
    const std::vector<float> in = tensor.to_f32();
    require_usable(spec, tensor, in);
    float* out = (is_statistic(spec.role) ? statistics : values).data() + spec.offset;
    for_each_element(spec, [&](std::size_t torch, std::size_t ours) { out[ours] = in[torch]; });
  }
  device_->upload(this->values(), values.data(), values.size());
  device_->upload(this->statistics(), statistics.data(), statistics.size());
  values_changed();
}

}  // namespace nepenthe
