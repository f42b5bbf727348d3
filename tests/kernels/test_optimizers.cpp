#include "kernels/optimizers.h"

#include <stdexcept>

#include "backends.h"
#include "reference/optimizers.h"

namespace nepenthe::tests {
namespace {

using kernels::AdamSettings;
using kernels::Segment;
using kernels::SgdSettings;
using kernels::StepControl;

constexpr std::size_t count = emulated ? 9000 : 40000;
constexpr float rates[] = {0.1f, 0.05f};
constexpr int steps = 4;

// Of odd lengths, with holes and an empty one; longer than one part of an array, or one block of threads.
using Segments = std::vector<Segment>;
const Segments both_segments[] = {{{0, 17}, {20, count - 6999}},
                                  {{count - 6999, count - 6999}, {count - 6997, count - 10}}};

double rate_of(const Segments& segments, std::size_t i) {
  for (std::size_t s = 0; s < segments.size(); ++s) {
    if (i >= segments[s].begin && i < segments[s].end) return rates[s];
  }
  return 0;
}

template <class Step>
void each_element(const Segments& segments, Step&& step) {
  for (std::size_t i = 0; i < count; ++i) {
    if (rate_of(segments, i) != 0) step(i);
  }
}

/// That of step 1, 2 …
const std::vector<float>& gradient(int step) {
  static const Outputs all{random_floats(count, 10), random_floats(count, 11), random_floats(count, 12),
                           random_floats(count, 13)};
  return all[std::size_t(step - 1)];
}

template <class Run>
auto control_at(const Run& run, int step) {
  return run.upload(std::vector<StepControl>{{.learning_rates = {rates[0], rates[1]}, .steps = step}});
}

template <class Backend>
void check_sgd(const Backend& backend, const Segments& segments, const SgdSettings& settings) {
  const auto w0 = random_floats(count, 1);
  const Outputs out = deterministic(backend, [&](const auto& run) {
    auto w = run.upload(w0), v = run.upload(poisoned(count));  // the first step must not read the velocity
    for (int step = 1; step <= steps; ++step) {
      const auto grad = run.upload(gradient(step));
      sgd_step(run.exec, segments, control_at(run, step).data(), w.data(), v.data(), grad.data(), settings);
    }
    return Outputs{w.host(), v.host()};
  });
  auto w = widened(w0), v = widened(poisoned(count));
  for (int step = 1; step <= steps; ++step) {
    each_element(segments, [&](std::size_t i) {
      reference::sgd_step(settings, step == 1, rate_of(segments, i), w[i], v[i], gradient(step)[i]);
    });
  }
  CHECK(relative_error(out[0], w) <= 1e-6);
  bool velocities = true, holes = true;
  for (std::size_t i = 0; i < count; ++i) {
    if (rate_of(segments, i) == 0) {
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
  each_backend([](const auto& backend) {
    for (const Segments& segments : both_segments) {
      for (const float momentum : {0.0f, 0.9f}) {
        for (const float dampening : {0.0f, 0.3f}) {
          for (const float weight_decay : {0.0f, 5e-4f}) {
            for (const bool nesterov : {false, true}) {
              check_sgd(
                  backend, segments,
                  {.momentum = momentum, .dampening = dampening, .weight_decay = weight_decay, .nesterov = nesterov});
            }
          }
        }
      }
    }
  });
}

template <class Backend>
void check_adam(const Backend& backend, const Segments& segments, const AdamSettings& settings) {
  const auto w0 = random_floats(count, 1);
  const Outputs out = deterministic(backend, [&](const auto& run) {
    auto w = run.upload(w0);
    auto m = run.upload(std::vector<float>(count)), v = run.upload(std::vector<float>(count));
    for (int step = 1; step <= steps; ++step) {
      const auto grad = run.upload(gradient(step));
      adam_step(run.exec, segments, control_at(run, step).data(), w.data(), m.data(), v.data(), grad.data(), settings);
    }
    return Outputs{w.host(), m.host(), v.host()};
  });
  auto w = widened(w0);
  std::vector<double> m(count), v(count);
  for (int step = 1; step <= steps; ++step) {
    each_element(segments, [&](std::size_t i) {
      reference::adam_step(settings, step, rate_of(segments, i), w[i], m[i], v[i], gradient(step)[i]);
    });
  }
  CHECK(relative_error(out[0], w) <= 1e-6);
  CHECK(relative_error(out[1], m) <= 1e-6);
  CHECK(relative_error(out[2], v) <= 1e-6);
  bool holes = true;
  for (std::size_t i = 0; i < count; ++i) {
    if (rate_of(segments, i) == 0) holes &= out[0][i] == w0[i] && out[1][i] == 0 && out[2][i] == 0;
  }
  CHECK(holes);
}

TEST_CASE("adam_step: against the reference") {
  each_backend([](const auto& backend) {
    for (const Segments& segments : both_segments) {
      for (const float weight_decay : {0.0f, 5e-2f}) check_adam(backend, segments, {.weight_decay = weight_decay});
    }
  });
}

TEST_CASE("optimizers: nothing happens once a loss has not been finite") {
  each_backend([](const auto& backend) {
    const auto run = backend.run();
    const auto w0 = random_floats(count, 1), m0 = random_floats(count, 2), v0 = random_floats(count, 3);
    const auto control = run.upload(std::vector<StepControl>{
        {.learning_rates = {rates[0], rates[1]}, .steps = 5, .diverged_at = 3, .diverged_loss = 1}});
    const auto grad = run.upload(gradient(1));
    auto w = run.upload(w0), m = run.upload(m0), v = run.upload(v0);
    const Segments whole{{0, 100}, {100, count}};
    sgd_step(run.exec, whole, control.data(), w.data(), v.data(), grad.data(), {});
    sgd_step(run.exec, whole, control.data(), w.data(), v.data(), grad.data(), {.momentum = 0});
    adam_step(run.exec, whole, control.data(), w.data(), m.data(), v.data(), grad.data(), {});
    CHECK(same_bits(w.host(), w0));
    CHECK(same_bits(m.host(), m0));
    CHECK(same_bits(v.host(), v0));
  });
}

TEST_CASE("optimizers: no segments, nothing happens") {
  each_backend([](const auto& backend) {
    const auto run = backend.run();
    const auto control = control_at(run, 1);
    sgd_step(run.exec, {}, control.data(), nullptr, nullptr, nullptr, {});
    adam_step(run.exec, Segments{{9, 9}}, control.data(), nullptr, nullptr, nullptr, nullptr, {});
    synchronize(run.exec);
  });
}

TEST_CASE("optimizers: more segments than learning rates are refused") {
  each_backend([](const auto& backend) {
    const auto run = backend.run();
    const auto control = control_at(run, 1);
    auto numbers = run.upload(std::vector<float>(8));
    float* const x = numbers.data();
    const Segments three{{0, 1}, {2, 3}, {4, 5}};
    CHECK_THROWS_AS(sgd_step(run.exec, three, control.data(), x, x, x, {}), std::invalid_argument);
    CHECK_THROWS_AS(adam_step(run.exec, three, control.data(), x, x, x, x, {}), std::invalid_argument);
  });
}

}  // namespace
}  // namespace nepenthe::tests
