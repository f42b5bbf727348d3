#include "kernels/pool.h"

#include "harness.h"
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
  MESSAGE(exec_with(1).description());
  for (const ImageShape& s : {ImageShape{1, 1, 1, 1}, ImageShape{3, 7, 5, 5}, ImageShape{17, 8, 8, 64},
                              ImageShape{33, 3, 3, 24}, ImageShape{16, 5, 4, 32}, ImageShape{2, 33, 31, 3}}) {
    const auto x = random_floats(s.size(), 1), dy = random_floats(std::size_t(s.n) * s.c, 2);
    const Outputs y = deterministic([&](CpuExec& exec) {
      Outputs out{poisoned(dy.size())};
      const auto blocked = to_backend(exec, s, x);
      global_avg_pool_forward(exec, s, out[0].data(), blocked.data());
      return out;
    });
    CHECK(relative_error(y[0], reference::global_avg_pool_forward(s, widened(x))) <= fp32_tolerance);
    for (const Accumulate accumulate : {Accumulate::assign, Accumulate::add}) {
      const auto start = before(accumulate, s.size(), 3);
      const Outputs dx = deterministic([&](CpuExec& exec) {
        auto out = to_backend(exec, s, start);
        global_avg_pool_backward(exec, s, out.data(), accumulate, dy.data());
        return Outputs{from_backend(exec, s, out)};
      });
      const auto expected = reference::global_avg_pool_backward(s, widened(dy));
      CHECK(relative_error(dx[0], after(accumulate, expected, start)) <= fp32_tolerance);
    }
  }
}

}  // namespace
}  // namespace nepenthe::tests
