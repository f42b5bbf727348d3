#include "kernels/optimizers.h"

#include <stdexcept>

#include "backends.h"
#include "reference/optimizers.h"
#include "tests/cases/optimizers.h"

namespace nepenthe::tests {
namespace {

using kernels::AdamSettings;
using kernels::Segment;
using kernels::SgdSettings;
using kernels::StepControl;

const std::size_t count = emulated ? 9000 : 40000;
constexpr float rates[] = {0.1f, 0.05f};
constexpr int steps = 4;

// Of odd lengths, with holes and an empty one; longer than one part of an array, or one block of threads.
using Segments = std::vector<Segment>;
const Segments both_segments[] = {{{0, 17}, {20, count - 6999}},
                                  {{count - 6999, count - 6999}, {count - 6997, count - 10}}};

/// For every element whether it is stepped: at the ends whole groups of it and of others, between them mixed.
const std::vector<std::uint8_t>& mask() {
  static const std::vector<std::uint8_t> chosen = [] {
    std::vector<std::uint8_t> all(count, 0);
    for (std::size_t i = 0; i < count; ++i) {
      const auto bits = random_bits({.seed = 20240919}, static_cast<std::uint32_t>(i)).x;
      if (i < 100 || (i > 200 && i < count - 200 && bits % 2 == 0)) all[i] = static_cast<std::uint8_t>(1 + bits % 255);
    }
    return all;
  }();
  return chosen;
}

double rate_of(const Segments& segments, bool masked, std::size_t i) {
  if (masked && mask()[i] == 0) return 0;
  for (std::size_t s = 0; s < segments.size(); ++s) {
    if (i >= segments[s].begin && i < segments[s].end) return rates[s];
  }
  return 0;
}

template <class Step>
void each_element(const Segments& segments, bool masked, Step&& step) {
  for (std::size_t i = 0; i < count; ++i) {
    if (const double rate = rate_of(segments, masked, i); rate != 0) step(i, rate);
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
void check_sgd(const Backend& backend, const Segments& segments, const SgdSettings& settings, bool masked) {
  const auto w0 = random_floats(count, 1);
  const Outputs out = deterministic(backend, [&](const auto& run) {
    auto w = run.upload(w0), v = run.upload(poisoned(count));  // the first step must not use the velocity
    auto rounded = run.upload(narrowed_to<bf16>(w0));
    const auto chosen = run.upload(mask());
    for (int step = 1; step <= steps; ++step) {
      const auto grad = run.upload(gradient(step));
      sgd_step(run.exec, {.segments = segments,
                          .w = w.data(),
                          .rounded = rounded.data(),
                          .v = v.data(),
                          .grad = {grad.data()},
                          .mask = masked ? chosen.data() : nullptr,
                          .control = control_at(run, step).data(),
                          .settings = settings});
    }
    return Outputs{w.host(), v.host(), floats_of(rounded.host())};
  });
  auto w = widened(w0), v = widened(poisoned(count));
  for (int step = 1; step <= steps; ++step) {
    each_element(segments, masked, [&](std::size_t i, double rate) {
      reference::sgd_step(settings, step == 1, rate, w[i], v[i], gradient(step)[i]);
    });
  }
  CHECK(relative_error(out[0], w) <= 1e-6);
  CHECK(same_bits(out[2], floats_of(narrowed_to<bf16>(out[0]))));
  bool velocities = true, holes = true;
  for (std::size_t i = 0; i < count; ++i) {
    if (rate_of(segments, masked, i) == 0) {
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
      for (const bool masked : {false, true}) {
        for (const SgdSettings& settings : cases::sgd_settings()) check_sgd(backend, segments, settings, masked);
      }
    }
  });
}

template <class Backend>
void check_adam(const Backend& backend, const Segments& segments, const AdamSettings& settings, bool masked) {
  const auto w0 = random_floats(count, 1);
  const Outputs out = deterministic(backend, [&](const auto& run) {
    auto w = run.upload(w0);
    auto rounded = run.upload(narrowed_to<bf16>(w0));
    auto m = run.upload(std::vector<float>(count)), v = run.upload(std::vector<float>(count));
    const auto chosen = run.upload(mask());
    for (int step = 1; step <= steps; ++step) {
      const auto grad = run.upload(gradient(step));
      adam_step(run.exec, {.segments = segments,
                           .w = w.data(),
                           .rounded = rounded.data(),
                           .m = m.data(),
                           .v = v.data(),
                           .grad = {grad.data()},
                           .mask = masked ? chosen.data() : nullptr,
                           .control = control_at(run, step).data(),
                           .settings = settings});
    }
    return Outputs{w.host(), m.host(), v.host(), floats_of(rounded.host())};
  });
  auto w = widened(w0);
  std::vector<double> m(count), v(count);
  for (int step = 1; step <= steps; ++step) {
    each_element(segments, masked, [&](std::size_t i, double rate) {
      reference::adam_step(settings, step, rate, w[i], m[i], v[i], gradient(step)[i]);
    });
  }
  CHECK(relative_error(out[0], w) <= 1e-6);
  CHECK(relative_error(out[1], m) <= 1e-6);
  CHECK(relative_error(out[2], v) <= 1e-6);
  CHECK(same_bits(out[3], floats_of(narrowed_to<bf16>(out[0]))));
  bool holes = true;
  for (std::size_t i = 0; i < count; ++i) {
    if (rate_of(segments, masked, i) == 0) holes &= out[0][i] == w0[i] && out[1][i] == 0 && out[2][i] == 0;
  }
  CHECK(holes);
}

TEST_CASE("adam_step: against the reference") {
  each_backend([](const auto& backend) {
    for (const Segments& segments : both_segments) {
      for (const bool masked : {false, true}) {
        for (const AdamSettings& settings : cases::adam_settings()) check_adam(backend, segments, settings, masked);
      }
    }
  });
}

/// Weights and moments after a step of each optimiser; gradients in bf16 that `is_narrow` marks are there alone, or all
/// are in fp32.
template <class Backend>
Outputs with_gradients(const Backend& backend, const Segments& segments, bool masked, bool narrow) {
  const std::size_t stretch = kernels::Gradients::stretch;
  std::vector<std::uint8_t> is_narrow((count + stretch - 1) / stretch);
  for (std::size_t i = 0; i < is_narrow.size(); ++i) is_narrow[i] = i % 5 == 0 || i % 7 < 2 ? 1 : 0;
  std::vector<float> wide = gradient(1), small = gradient(1);
  for (std::size_t i = 0; i < count; ++i) {
    const float rounded = kernels::to_float(kernels::to_bf16(wide[i]));
    const bool here = is_narrow[i / stretch] != 0;
    if (here) wide[i] = narrow ? std::nanf("") : rounded;
    small[i] = here ? rounded : std::nanf("");
  }
  return deterministic(backend, [&](const auto& run) {
    auto w = run.upload(random_floats(count, 1)), v = run.upload(poisoned(count));
    auto m = run.upload(std::vector<float>(count)), second = run.upload(std::vector<float>(count));
    const auto chosen = run.upload(mask());
    const auto control = control_at(run, 1);
    const auto in_fp32 = run.upload(wide);
    const auto in_bf16 = run.upload(narrowed_to<bf16>(small));
    const auto places = run.upload(is_narrow);
    kernels::Gradients grad{in_fp32.data()};
    if (narrow) grad = {.wide = in_fp32.data(), .narrow = in_bf16.data(), .is_narrow = places.data()};
    const std::uint8_t* const mask_or_none = masked ? chosen.data() : nullptr;
    sgd_step(run.exec, {.segments = segments,
                        .w = w.data(),
                        .v = v.data(),
                        .grad = grad,
                        .mask = mask_or_none,
                        .control = control.data()});
    adam_step(run.exec, {.segments = segments,
                         .w = w.data(),
                         .m = m.data(),
                         .v = second.data(),
                         .grad = grad,
                         .mask = mask_or_none,
                         .control = control.data()});
    return Outputs{w.host(), v.host(), m.host(), second.host()};
  });
}

TEST_CASE("optimizers: gradients in bf16 give the bits of the same ones in fp32") {
  on_cuda<float>(Precision::fp32, [](const auto& backend) {
    for (const Segments& segments : both_segments) {
      for (const bool masked : {false, true}) {
        const Outputs wide = with_gradients(backend, segments, masked, false);
        const Outputs narrow = with_gradients(backend, segments, masked, true);
        for (std::size_t i = 0; i < wide.size(); ++i) CHECK(same_bits(narrow[i], wide[i]));
      }
    }
  });
  on_cpu<float>(Precision::fp32, [](const auto& backend) {
    CHECK_THROWS_AS(with_gradients(backend, both_segments[0], false, true), std::invalid_argument);
  });
}

TEST_CASE("optimizers: a mask of ones gives the bits of none") {
  each_backend([](const auto& backend) {
    const Segments whole{{0, count}};
    const std::vector<std::uint8_t> ones(count, 1);
    for (const bool masked : {false, true}) {
      static Outputs plain;
      const Outputs out = deterministic(backend, [&](const auto& run) {
        auto w = run.upload(random_floats(count, 1)), v = run.upload(poisoned(count));
        auto m = run.upload(std::vector<float>(count)), second = run.upload(std::vector<float>(count));
        const auto chosen = run.upload(ones);
        const auto control = control_at(run, 1);
        const auto grad = run.upload(gradient(1));
        const std::uint8_t* const mask_or_none = masked ? chosen.data() : nullptr;
        sgd_step(run.exec, {.segments = whole,
                            .w = w.data(),
                            .v = v.data(),
                            .grad = {grad.data()},
                            .mask = mask_or_none,
                            .control = control.data()});
        adam_step(run.exec, {.segments = whole,
                             .w = w.data(),
                             .m = m.data(),
                             .v = second.data(),
                             .grad = {grad.data()},
                             .mask = mask_or_none,
                             .control = control.data()});
        return Outputs{w.host(), v.host(), m.host(), second.host()};
      });
      if (!masked) plain = out;
      for (std::size_t i = 0; i < out.size(); ++i) CHECK(same_bits(out[i], plain[i]));
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
    kernels::SgdStep sgd{
        .segments = whole, .w = w.data(), .v = v.data(), .grad = {grad.data()}, .control = control.data()};
    sgd_step(run.exec, sgd);
    sgd.settings.momentum = 0;
    sgd_step(run.exec, sgd);
    adam_step(run.exec, {.segments = whole,
                         .w = w.data(),
                         .m = m.data(),
                         .v = v.data(),
                         .grad = {grad.data()},
                         .control = control.data()});
    CHECK(same_bits(w.host(), w0));
    CHECK(same_bits(m.host(), m0));
    CHECK(same_bits(v.host(), v0));
  });
}

TEST_CASE("optimizers: no segments, nothing happens") {
  each_backend([](const auto& backend) {
    const auto run = backend.run();
    const auto control = control_at(run, 1);
    const Segments empty{{9, 9}};
    sgd_step(run.exec, {.control = control.data()});
    adam_step(run.exec, {.segments = empty, .control = control.data()});
    synchronize(run.exec);
  });
}

TEST_CASE("optimizers: more segments than learning rates are refused") {
  each_backend([](const auto& backend) {
    const auto run = backend.run();
    const auto control = control_at(run, 1);
    const Segments three{{0, 1}, {2, 3}, {4, 5}};
    CHECK_THROWS_AS(sgd_step(run.exec, {.segments = three, .control = control.data()}), std::invalid_argument);
    CHECK_THROWS_AS(adam_step(run.exec, {.segments = three, .control = control.data()}), std::invalid_argument);
  });
}

}  // namespace
}  // namespace nepenthe::tests
