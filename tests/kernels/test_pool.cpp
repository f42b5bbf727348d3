#include "kernels/pool.h"

#include "backends.h"
#include "reference/pool.h"

namespace nepenthe::tests {
namespace {

TEST_CASE("pool: the reference's backward is the complex step of its forward") {
  const ImageShape s{2, 3, 2, 3};
  const auto x = widened(random_floats(s.size(), 1)), dy = widened(random_floats(6, 2));
  const auto dx = complex_step(x, [&](const auto& z) { return dot(dy, reference::global_avg_pool_forward(s, z)); });
  CHECK(relative_error(reference::global_avg_pool_backward(s, dy), dx) <= reference_tolerance);
}

TEST_CASE("pool: forward and backward against the reference") {
  each_storage([](const auto& backend) {
    for (const ImageShape& s :
         {ImageShape{1, 1, 1, 1}, ImageShape{3, 7, 5, 5}, ImageShape{17, 8, 8, 64}, ImageShape{33, 3, 3, 24},
          ImageShape{16, 5, 4, 32}, ImageShape{2, 33, 31, 3}, ImageShape{3, 4, 4, 12}, ImageShape{2, 2, 3, 520}}) {
      CAPTURE(s.n);
      CAPTURE(s.c);
      const auto x = backend.rounded(random_floats(s.size(), 1));
      const auto dy = random_floats(std::size_t(s.n) * s.c, 2);
      const Outputs y = deterministic(backend, [&](const auto& run) {
        const auto images = run.images(s, x);
        auto out = run.upload(poisoned(dy.size()));
        global_avg_pool_forward(run.exec, s, out.data(), images.data());
        return Outputs{out.host()};
      });
      CHECK(relative_error(y[0], reference::global_avg_pool_forward(s, widened(x))) <= fp32_tolerance);
      for (const Accumulate accumulate : {Accumulate::assign, Accumulate::add}) {
        const auto start = backend.rounded(before(accumulate, s.size(), 3));
        const Outputs dx = deterministic(backend, [&](const auto& run) {
          const auto rows = run.upload(dy);
          auto out = run.images(s, start);
          global_avg_pool_backward(run.exec, s, out.data(), accumulate, rows.data());
          return Outputs{run.plain(s, out)};
        });
        const auto expected = reference::global_avg_pool_backward(s, widened(dy));
        CHECK(relative_error(dx[0], after(accumulate, expected, start)) <= backend.tolerance(s.size()));
      }
    }
  });
}

}  // namespace
}  // namespace nepenthe::tests
