#include "kernels/pool.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "backends.h"
#include "reference/pool.h"
#include "tests/cases/pool.h"

namespace nepenthe::tests {
namespace {

using kernels::GlobalAvgPoolBackward;
using kernels::GlobalAvgPoolForward;
using kernels::MaxPoolBackward;
using kernels::MaxPoolForward;

TEST_CASE("pool: the reference's backward is the complex step of its forward") {
  for (const auto& [name, shape, network] : cases::up_to(cases::pool, 600, cases::elements)) {
    CAPTURE(name);
    const ImageShape& s = shape;
    const auto x = widened(random_floats(s.size(), 1)), dy = widened(random_floats(std::size_t(s.n) * s.c, 2));
    const auto dx = complex_step(x, [&](const auto& z) { return dot(dy, reference::global_avg_pool_forward(s, z)); });
    CHECK(relative_error(reference::global_avg_pool_backward(s, dy), dx) <= reference_tolerance);
  }
}

TEST_CASE("pool: forward and backward against the reference") {
  each_storage([](const auto& backend) {
    for (const auto& [name, shape, network] : cases::up_to(cases::pool, 1e6, cases::elements)) {
      CAPTURE(name);
      const ImageShape& s = shape;
      const auto x = backend.rounded(random_floats(s.size(), 1));
      const auto dy = random_floats(std::size_t(s.n) * s.c, 2);
      const Outputs y = deterministic(backend, [&](const auto& run) {
        const auto images = run.images(s, x);
        auto out = run.upload(poisoned(dy.size()));
        global_avg_pool_forward(run.exec, GlobalAvgPoolForward{.shape = s, .y = out.data(), .x = images.data()});
        return Outputs{out.host()};
      });
      CHECK(relative_error(y[0], reference::global_avg_pool_forward(s, widened(x))) <= fp32_tolerance);
      for (const Accumulate accumulate : {Accumulate::assign, Accumulate::add}) {
        const auto start = backend.rounded(before(accumulate, s.size(), 3));
        const Outputs dx = deterministic(backend, [&](const auto& run) {
          const auto rows = run.upload(dy);
          auto out = run.images(s, start);
          global_avg_pool_backward(
              run.exec,
              GlobalAvgPoolBackward{.shape = s, .dx = out.data(), .accumulate = accumulate, .dy = rows.data()});
          return Outputs{run.plain(s, out)};
        });
        const auto expected = reference::global_avg_pool_backward(s, widened(dy));
        CHECK(relative_error(dx[0], after(accumulate, expected, start)) <= backend.tolerance(s.size()));
      }
    }
  });
}

/// Numbers of which many are equal, so that windows have several largest ones.
std::vector<float> with_ties(std::size_t count, std::uint32_t purpose) {
  std::vector<float> values = random_floats(count, purpose);
  for (float& value : values) value = std::round(2 * value) / 2;
  return values;
}

TEST_CASE("max pool: the reference's backward is the complex step of its forward") {
  for (const auto& [name, shape, network] : cases::up_to(cases::max_pool, 6000, cases::window_pixels)) {
    CAPTURE(name);
    const kernels::PoolShape& s = shape;
    const auto x = widened(random_floats(s.input().size(), 1)), dy = widened(random_floats(s.output().size(), 2));
    const auto dx = complex_step(x, [&](const auto& z) { return dot(dy, reference::max_pool_forward(s, z)); });
    CHECK(relative_error(reference::max_pool_backward(s, x, dy), dx) <= reference_tolerance);
  }
}

TEST_CASE("max pool: forward and backward against the reference, the first of equal ones taken") {
  each_storage([](const auto& backend) {
    for (const auto& [name, shape, network] : cases::up_to(cases::max_pool, 1e6, cases::window_pixels)) {
      CAPTURE(name);
      const kernels::PoolShape& s = shape;
      for (const bool ties : {false, true}) {
        CAPTURE(ties);
        const auto x = backend.rounded(ties ? with_ties(s.input().size(), 1) : random_floats(s.input().size(), 1));
        const auto dy = backend.rounded(random_floats(s.output().size(), 2));
        const std::vector<double> expected = reference::max_pool_forward(s, widened(x));
        const std::vector<double> gradient = reference::max_pool_backward(s, widened(x), widened(dy));
        for (const Accumulate accumulate : {Accumulate::assign, Accumulate::add}) {
          const auto start = backend.rounded(before(accumulate, s.input().size(), 3));
          const Outputs results = deterministic(backend, [&](const auto& run) {
            const auto images = run.images(s.input(), x), slopes = run.images(s.output(), dy);
            auto y = run.images(s.output(), poisoned(s.output().size())),
                 unused = run.images(s.output(), poisoned(s.output().size()));
            auto taps = run.upload(std::vector<std::uint8_t>(s.output().size(), 0xFF));
            auto dx = run.images(s.input(), start);
            max_pool_forward(run.exec,
                             MaxPoolForward{.shape = s, .y = y.data(), .taps = taps.data(), .x = images.data()});
            max_pool_forward(run.exec,
                             MaxPoolForward{.shape = s, .y = unused.data(), .taps = nullptr, .x = images.data()});
            max_pool_backward(
                run.exec,
                MaxPoolBackward{
                    .shape = s, .dx = dx.data(), .accumulate = accumulate, .dy = slopes.data(), .taps = taps.data()});
            return Outputs{run.plain(s.output(), y), run.plain(s.output(), unused), run.plain(s.input(), dx)};
          });
          CHECK(relative_error(results[0], expected) == 0);  // nothing is computed
          CHECK(same_bits(results[0], results[1]));
          CHECK(relative_error(results[2], after(accumulate, gradient, start)) <= backend.tolerance(s.input().size()));
        }
      }
    }
  });
}

TEST_CASE("max pool: not a number wins, and minus infinity is one") {
  each_storage([](const auto& backend) {
    const kernels::PoolShape s{.n = 1, .h = 2, .w = 4, .c = 16, .kernel = 2, .stride = 2, .padding = 0};
    constexpr float none = -std::numeric_limits<float>::infinity();
    std::vector<float> x(s.input().size(), none);
    for (int c = 0; c < s.c; ++c) x[reference::at(s.h, s.w, s.c, 0, 1, 2, c)] = std::numeric_limits<float>::quiet_NaN();
    const auto run = backend.run();
    const auto images = run.images(s.input(), x), dy = run.images(s.output(), std::vector<float>(s.output().size(), 1));
    auto y = run.images(s.output(), poisoned(s.output().size()));
    auto dx = run.images(s.input(), poisoned(s.input().size()));
    auto taps = run.upload(std::vector<std::uint8_t>(s.output().size(), 0xFF));
    max_pool_forward(run.exec, MaxPoolForward{.shape = s, .y = y.data(), .taps = taps.data(), .x = images.data()});
    max_pool_backward(
        run.exec,
        MaxPoolBackward{
            .shape = s, .dx = dx.data(), .accumulate = Accumulate::assign, .dy = dy.data(), .taps = taps.data()});
    const std::vector<float> largest = run.plain(s.output(), y), taken = run.plain(s.input(), dx);
    for (int c = 0; c < s.c; ++c) {
      CHECK(largest[c] == none);
      CHECK(std::isnan(largest[s.c + c]));
      CHECK(taken[reference::at(s.h, s.w, s.c, 0, 0, 0, c)] == 1);
      CHECK(taken[reference::at(s.h, s.w, s.c, 0, 1, 2, c)] == 1);
    }
    CHECK(std::accumulate(taken.begin(), taken.end(), 0.0) == s.output().size());
  });
}

TEST_CASE("pool: shapes without elements are refused") {
  each_backend([](const auto& backend) {
    auto& exec = *backend.execs.front();
    for (const kernels::PoolShape& shape : {kernels::PoolShape{1, 2, 2, 3, 3, 1, 0},
                                            {1, 4, 4, 3, 3, 0, 0},
                                            {1, 4, 4, 3, 2, 2, 2},
                                            {1, 40, 40, 3, 17, 1, 0},
                                            {0, 4, 4, 3, 2, 2, 0},
                                            {1, 4, 4, 3, 0, 1, 0}}) {
      CHECK_THROWS_AS(max_pool_forward<float>(exec, {.shape = shape}), std::invalid_argument);
      CHECK_THROWS_AS(max_pool_backward<float>(exec, {.shape = shape}), std::invalid_argument);
    }
    CHECK_THROWS_AS(global_avg_pool_forward<float>(exec, {.shape = {2, 0, 3, 4}}), std::invalid_argument);
    CHECK_THROWS_AS(global_avg_pool_backward<float>(exec, {.shape = {0, 2, 3, 4}}), std::invalid_argument);
  });
}

}  // namespace
}  // namespace nepenthe::tests
