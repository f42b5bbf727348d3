#include "kernels/pool.h"

#include <stdexcept>

#include "backends.h"
#include "reference/pool.h"
#include "tests/cases/pool.h"

namespace nepenthe::tests {
namespace {

using kernels::GlobalAvgPoolBackward;
using kernels::GlobalAvgPoolForward;

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

TEST_CASE("pool: shapes without elements are refused") {
  each_backend([](const auto& backend) {
    auto& exec = *backend.execs.front();
    CHECK_THROWS_AS(global_avg_pool_forward<float>(exec, {.shape = {2, 0, 3, 4}}), std::invalid_argument);
    CHECK_THROWS_AS(global_avg_pool_backward<float>(exec, {.shape = {0, 2, 3, 4}}), std::invalid_argument);
  });
}

}  // namespace
}  // namespace nepenthe::tests
