#include "kernels/optimizers.h"

#include "harness.h"
#include "reference/optimizers.h"

namespace nepenthe::tests {
namespace {

using kernels::AdamSettings;
using kernels::Segment;
using kernels::SgdSettings;

constexpr std::size_t count = 40000;
// Of odd lengths, with holes and an empty one; longer than one part of an array.
const std::vector<Segment> segments{{0, 17, 0.1f}, {20, 33001, 0.05f}, {33001, 33001, 1}, {33003, 39990, 0.2f}};

double rate_of(std::size_t i) {
  for (const Segment& s : segments) {
    if (i >= s.begin && i < s.end) return s.lr;
  }
  return 0;
}

template <class Step>
void each_element(Step&& step) {
  for (std::size_t i = 0; i < count; ++i) {
    if (rate_of(i) != 0) step(i);
  }
}

void check_sgd(const SgdSettings& settings) {
  const auto w0 = random_floats(count, 1);
  const Outputs out = deterministic([&](CpuExec& exec) {
    Outputs o{w0, poisoned(count)};  // the first step must not read the velocity
    for (std::uint32_t step = 0; step < 4; ++step) {
      SgdSettings now = settings;
      now.first = step == 0;
      const auto grad = random_floats(count, 10 + step);
      sgd_step(exec, segments, o[0].data(), o[1].data(), grad.data(), now);
    }
    return o;
  });
  auto w = widened(w0), v = widened(poisoned(count));
  for (std::uint32_t step = 0; step < 4; ++step) {
    SgdSettings now = settings;
    now.first = step == 0;
    const auto grad = random_floats(count, 10 + step);
    each_element([&](std::size_t i) { reference::sgd_step(now, rate_of(i), w[i], v[i], grad[i]); });
  }
  CHECK(relative_error(out[0], w) <= 1e-6);
  bool velocities = true, holes = true;
  for (std::size_t i = 0; i < count; ++i) {
    if (rate_of(i) == 0) {
      holes &= out[0][i] == w0[i] && std::isnan(out[1][i]);
    } else if (settings.momentum != 0) {
      velocities &= std::abs(out[1][i] - v[i]) <= 1e-5;
    } else {
      velocities &= std::isnan(out[1][i]);  // left alone
    }
  }
  CHECK(velocities);
  CHECK(holes);
}

TEST_CASE("sgd_step: against the reference, every setting") {
  MESSAGE(exec_with(1).description());
  for (const float momentum : {0.0f, 0.9f}) {
    for (const float dampening : {0.0f, 0.3f}) {
      for (const float weight_decay : {0.0f, 5e-4f}) {
        for (const bool nesterov : {false, true}) {
          check_sgd({.momentum = momentum, .dampening = dampening, .weight_decay = weight_decay, .nesterov = nesterov});
        }
      }
    }
  }
}

TEST_CASE("adam_step: against the reference") {
  for (const float weight_decay : {0.0f, 5e-2f}) {
    const auto w0 = random_floats(count, 1);
    const Outputs out = deterministic([&](CpuExec& exec) {
      Outputs o{w0, std::vector<float>(count), std::vector<float>(count)};
      for (int step = 1; step <= 4; ++step) {
        const auto grad = random_floats(count, 20 + static_cast<std::uint32_t>(step));
        adam_step(exec, segments, o[0].data(), o[1].data(), o[2].data(), grad.data(),
                  {.weight_decay = weight_decay, .step = step});
      }
      return o;
    });
    auto w = widened(w0);
    std::vector<double> m(count), v(count);
    for (int step = 1; step <= 4; ++step) {
      const auto grad = random_floats(count, 20 + static_cast<std::uint32_t>(step));
      const AdamSettings settings{.weight_decay = weight_decay, .step = step};
      each_element([&](std::size_t i) { reference::adam_step(settings, rate_of(i), w[i], m[i], v[i], grad[i]); });
    }
    CHECK(relative_error(out[0], w) <= 1e-6);
    CHECK(relative_error(out[1], m) <= 1e-6);
    CHECK(relative_error(out[2], v) <= 1e-6);
  }
}

TEST_CASE("sgd_step: no segments, nothing happens") { sgd_step(exec_with(2), {}, nullptr, nullptr, nullptr, {}); }

}  // namespace
}  // namespace nepenthe::tests
