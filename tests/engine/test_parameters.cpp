// A model's state: layout, initialisation, and loading that trusts nothing.
#include "engine/parameters.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "engine/base/error.h"
#include "golden.h"
#include "shared_data.h"

namespace nepenthe::tests {
namespace {

ParameterLayout sample_layout() {
  ParameterLayout layout;
  layout.add("conv.weight", Role::conv_weight, {5, 3, 3, 3});
  layout.add("bn.weight", Role::norm_weight, {5});
  layout.add("bn.bias", Role::norm_bias, {5});
  layout.add("bn.running_mean", Role::running_mean, {5});
  layout.add("bn.running_var", Role::running_var, {5});
  layout.add("fc.weight", Role::linear_weight, {7, 5}, 5);
  layout.add("fc.bias", Role::linear_bias, {7}, 5);
  return layout;
}

/// A state with a different number in every place.
StateDict numbered(const ParameterLayout& layout) {
  StateDict state;
  float next = 1;
  for (const ParameterSpec& spec : layout.specs()) {
    std::vector<float> values(spec.size);
    for (float& value : values) value = next++;
    state.add(spec.name, HostTensor::from(spec.shape, values));
  }
  return state;
}

bool equal(const StateDict& a, const StateDict& b) {
  return std::ranges::equal(a.entries, b.entries, [](const auto& x, const auto& y) {
    return x.first == y.first && x.second.dtype == y.second.dtype && x.second.shape == y.second.shape &&
           x.second.bytes == y.second.bytes;
  });
}

TEST_CASE("parameters: the layout aligns every tensor and counts without the gaps") {
  const ParameterLayout layout = sample_layout();
  CHECK(layout.parameter_count() == 135 + 5 + 5 + 35 + 7);
  CHECK(layout.parameter_floats() == 144 + 16 + 16 + 48 + 16);
  CHECK(layout.statistic_floats() == 32);
  for (const ParameterSpec& spec : layout.specs()) CHECK(spec.offset % 16 == 0);
  CHECK(layout.specs()[3].offset == 0);  // statistics lie in a buffer of their own
  CHECK(layout.specs()[4].offset == 16);
}

TEST_CASE("parameters: buffers start as zeros, and gradients assign first in every step") {
  Device device(test_device());
  Parameters parameters(device, sample_layout());
  for (const float x : device.download(parameters.values(), 240)) CHECK(x == 0);
  for (const float x : device.download(parameters.gradients(), 240)) CHECK(x == 0);
  for (int step = 0; step < 2; ++step) {
    parameters.begin_step();
    CHECK(parameters.gradient(5).accumulate == Accumulate::assign);
    CHECK(parameters.gradient(5).accumulate == Accumulate::add);
    CHECK(parameters.gradient(6).accumulate == Accumulate::assign);
    CHECK(parameters.gradient(5).data == parameters.gradients() + 176);
  }
}

TEST_CASE("parameters: with CUDA and bf16 the first gradient of filters is bf16, until it has to be fp32") {
  DeviceSettings settings = test_device();
  settings.precision = Precision::bf16;
  Device device(settings);
  Parameters parameters(device, sample_layout());
  const auto is_narrow = [&](int index) { return parameters.gradient(index).narrow != nullptr; };
  parameters.begin_step();
  const bool cuda = test_device().kind == "cuda";
  CHECK((parameters.written_gradients().narrow != nullptr) == cuda);
  CHECK(is_narrow(0) == cuda);
  CHECK(!is_narrow(5));
  CHECK((parameters.written_gradients().narrow != nullptr) == cuda);
  CHECK(!is_narrow(5));  // its second writer adds, as to any gradient in fp32
  CHECK((parameters.written_gradients().narrow != nullptr) == cuda);
  CHECK(!is_narrow(0));
  CHECK(parameters.written_gradients().narrow == nullptr);
  parameters.begin_step();
  CHECK(is_narrow(0) == cuda);
  parameters.gradients();
  CHECK(parameters.written_gradients().narrow == nullptr);
}

TEST_CASE("parameters: the rounded copy is that of the values, however they came") {
  DeviceSettings settings = test_device();
  settings.precision = Precision::bf16;
  Device device(settings);
  Parameters parameters(device, sample_layout());
  const std::size_t floats = parameters.layout().parameter_floats();
  const auto check = [&] {
    const auto rounded = device.download(parameters.rounded_values(), floats);
    const auto values = device.download(parameters.values(), floats);
    CHECK(std::ranges::equal(rounded, values, {}, &kernels::bf16::bits,
                             [](float value) { return kernels::to_bf16(value).bits; }));
  };
  check();
  parameters.initialize({.seed = 1});
  check();
  parameters.load_state_dict(numbered(parameters.layout()));
  check();
  const std::vector<float> others(floats, 1.23456f);
  device.upload(parameters.values(), others.data(), floats);
  parameters.values_changed();
  check();
  CHECK(parameters.filters<kernels::bf16>(0) == parameters.rounded_values());
}

TEST_CASE("parameters: a state goes in and comes out; filters lie as (K, R, S, C)") {
  Device device(test_device());
  Parameters parameters(device, sample_layout());
  const StateDict state = numbered(parameters.layout());
  parameters.load_state_dict(state);
  CHECK(equal(parameters.state_dict(), state));

  const auto memory = device.download(parameters.value(0), 135);
  for (std::size_t k = 0; k < 5; ++k) {
    for (std::size_t c = 0; c < 3; ++c) {
      for (std::size_t tap = 0; tap < 9; ++tap) {
        CHECK(memory[(k * 9 + tap) * 3 + c] == 1 + static_cast<float>((k * 3 + c) * 9 + tap));
      }
    }
  }
  CHECK(device.download(parameters.value(3), 1)[0] == 146);  // conv, weight and bias come before
  const auto all = device.download(parameters.values(), 240);
  for (std::size_t gap = 135; gap < 144; ++gap) CHECK(all[gap] == 0);

  // The order of the file is its own affair; counters of batches are passed over; doubles are rounded.
  StateDict shuffled;
  const std::vector<std::int64_t> batches{12};
  shuffled.add("bn.num_batches_tracked", HostTensor::from({}, batches));
  for (auto entry = state.entries.rbegin(); entry != state.entries.rend(); ++entry) {
    shuffled.add(entry->first, entry->second);
  }
  Parameters other(device, sample_layout());
  other.load_state_dict(shuffled);
  CHECK(equal(other.state_dict(), state));
}

TEST_CASE("parameters: what does not fit is refused by name, and nothing changes") {
  Device device(test_device());
  Parameters parameters(device, sample_layout());
  const StateDict state = numbered(parameters.layout());
  parameters.initialize({.seed = 1});
  const StateDict untouched = parameters.state_dict();
  const auto refuse = [&](const StateDict& bad, const std::string& name) {
    CAPTURE(name);
    NEPENTHE_CHECK_MESSAGE(Error, parameters.load_state_dict(bad), name);
    CHECK(equal(parameters.state_dict(), untouched));
  };
  for (std::size_t i = 0; i < state.entries.size(); ++i) {
    const std::string name = state.entries[i].first;
    StateDict missing = state;
    missing.entries.erase(missing.entries.begin() + static_cast<std::ptrdiff_t>(i));
    refuse(missing, name);
    StateDict reshaped = state;
    reshaped.entries[i].second.shape.insert(reshaped.entries[i].second.shape.begin(), 1);  // as many elements
    refuse(reshaped, name);
    StateDict whole_numbers = state;
    whole_numbers.entries[i].second.dtype = DType::i32;
    refuse(whole_numbers, name);
  }
  StateDict more = state;
  more.add("fc.extra", state.entries[1].second);
  refuse(more, "left over: fc.extra");

  // All of it at once, in one line, whatever the names are.
  StateDict other = state;
  const auto rename = [&](std::size_t i, const std::string& name) {
    other.entries[i].first = name;
    return fmt::format("{} {}", state.entries[i].first, to_string(state.entries[i].second.shape));
  };
  const std::string first = rename(0, "convolution.weight"), second = rename(1, "new\nline");
  const auto& [name, tensor] = state.entries[2];
  other.entries[2].second.shape = {1, tensor.count()};
  other.entries[3].second.dtype = DType::i32;
  refuse(other,
         fmt::format("missing: {}, {}; left over: convolution.weight, new\\x0aline; of another shape: {} (1, {}) "
                     "instead of {}; of another type: {} I32 instead of F32, F64, F16 or BF16",
                     first, second, name, tensor.count(), to_string(tensor.shape), state.entries[3].first));
  CHECK(misfit(parameters.layout(), state).empty());
  CHECK(misfit(ParameterLayout(), {}).empty());
}

/// Mean, variance and fourth moment over the squared variance.
struct Moments {
  double mean = 0, variance = 0, kurtosis = 0, largest = 0;
};
Moments moments_of(const std::vector<float>& values) {
  Moments m;
  const auto n = static_cast<double>(values.size());
  for (const double x : values) m.mean += x / n, m.largest = std::max(m.largest, std::abs(x));
  for (const double x : values) m.variance += (x - m.mean) * (x - m.mean) / n;
  for (const double x : values) m.kurtosis += std::pow(x - m.mean, 4) / n / (m.variance * m.variance);
  return m;
}

TEST_CASE("parameters: Kaiming normal by fan out, PyTorch's uniform for linear layers") {
  Device device(test_device());
  ParameterLayout layout;
  layout.add("conv.weight", Role::conv_weight, {96, 32, 3, 3});
  layout.add("bn.weight", Role::norm_weight, {96});
  layout.add("bn.bias", Role::norm_bias, {96});
  layout.add("bn.running_mean", Role::running_mean, {96});
  layout.add("bn.running_var", Role::running_var, {96});
  layout.add("fc.weight", Role::linear_weight, {500, 64}, 64);
  layout.add("fc.bias", Role::linear_bias, {500}, 64);
  Parameters parameters(device, layout);
  parameters.initialize({.seed = 4, .shard = 2});
  const StateDict state = parameters.state_dict();
  const auto values = [&](const char* name) { return state.find(name)->to_f32(); };

  const Moments conv = moments_of(values("conv.weight"));  // 27648 numbers: deviations of 0.6 % of σ, 0.9 % of σ²
  const double variance = 2.0 / (96 * 9);
  CHECK(std::abs(conv.mean) <= 4 * std::sqrt(variance / 27648));
  CHECK(std::abs(conv.variance / variance - 1) <= 4 * std::sqrt(2.0 / 27648));
  CHECK(std::abs(conv.kurtosis - 3) <= 4 * std::sqrt(24.0 / 27648));
  const Moments fc = moments_of(values("fc.weight"));  // 32000
  CHECK(fc.largest <= 0.125);
  CHECK(fc.largest >= 0.1249);
  CHECK(std::abs(fc.mean) <= 4 * 0.125 / std::sqrt(3.0 * 32000));
  CHECK(std::abs(fc.variance / (0.125 * 0.125 / 3) - 1) <= 4 * std::sqrt(0.8 / 32000));
  const Moments bias = moments_of(values("fc.bias"));
  CHECK(bias.largest <= 0.125);
  CHECK(bias.largest >= 0.12);
  CHECK(bias.variance == doctest::Approx(0.125 * 0.125 / 3).epsilon(0.2));
  for (const float x : values("bn.weight")) CHECK(x == 1);
  for (const float x : values("bn.running_var")) CHECK(x == 1);
  for (const float x : values("bn.bias")) CHECK(x == 0);
  for (const float x : values("bn.running_mean")) CHECK(x == 0);
  // Every number has its own index: none comes twice in two tensors.
  std::set<float> seen;
  for (const float x : values("fc.weight")) seen.insert(x);
  int common = 0;
  for (const float x : values("fc.bias")) common += static_cast<int>(seen.count(x));
  CHECK(common <= 3);  // 16 million different floats in 500 draws beside 32000
}

TEST_CASE("parameters: initialisation is a function of the stream") {
  Device device(test_device());
  Parameters parameters(device, sample_layout());
  const RandomStream base{.seed = 9, .purpose = 4, .shard = 1, .stage = 0};
  parameters.initialize(base);
  const StateDict first = parameters.state_dict();
  parameters.load_state_dict(numbered(parameters.layout()));
  parameters.initialize(base);
  CHECK(equal(parameters.state_dict(), first));
  auto shard = base, seed = base;
  shard.shard = 2;
  seed.seed = 10;
  for (const auto& stream : {shard, seed}) {
    parameters.initialize(stream);
    for (const char* name : {"conv.weight", "fc.weight", "fc.bias"}) {
      CAPTURE(name);
      const auto a = first.find(name)->to_f32(), b = parameters.state_dict().find(name)->to_f32();
      for (std::size_t i = 0; i < a.size(); ++i) CHECK(a[i] != b[i]);
    }
  }
}

}  // namespace
}  // namespace nepenthe::tests
