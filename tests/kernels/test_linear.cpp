#include "kernels/linear.h"

#include "harness.h"
#include "reference/linear.h"

namespace nepenthe::tests {
namespace {

using kernels::LinearShape;

const LinearShape shapes[] = {{1, 1, 1}, {3, 5, 7}, {17, 64, 100}, {128, 64, 10}, {33, 37, 23}, {16, 512, 100}};

TEST_CASE("linear: the reference's backward is the complex step of its forward") {
  const LinearShape s{3, 4, 5};
  const auto x = widened(random_floats(12, 1)), w = widened(random_floats(20, 2)), b = widened(random_floats(5, 3));
  const auto dy = widened(random_floats(15, 4));
  const auto zx = complexed(x), zw = complexed(w), zb = complexed(b);
  const auto dx = complex_step(x, [&](const auto& z) { return dot(dy, reference::linear_forward(s, z, zw, zb)); });
  const auto dw = complex_step(w, [&](const auto& z) { return dot(dy, reference::linear_forward(s, zx, z, zb)); });
  const auto db = complex_step(b, [&](const auto& z) { return dot(dy, reference::linear_forward(s, zx, zw, z)); });
  const auto gradients = reference::linear_backward_weights(s, dy, x);
  CHECK(relative_error(reference::linear_backward_data(s, dy, w), dx) <= reference_tolerance);
  CHECK(relative_error(gradients.dw, dw) <= reference_tolerance);
  CHECK(relative_error(gradients.db, db) <= reference_tolerance);
}

TEST_CASE("linear: all three against the reference") {
  MESSAGE(exec_with(1).description());
  for (const LinearShape& s : shapes) {
    const std::size_t rows = s.rows, in = s.in, out_count = s.out;
    const auto x = random_floats(rows * in, 1), w = random_floats(out_count * in, 2), b = random_floats(out_count, 3);
    const auto dy = random_floats(rows * out_count, 4);
    const Outputs y = deterministic([&](CpuExec& exec) {
      Outputs out{poisoned(rows * out_count)};
      linear_forward(exec, s, out[0].data(), x.data(), w.data(), b.data());
      return out;
    });
    CHECK(relative_error(y[0], reference::linear_forward(s, widened(x), widened(w), widened(b))) <= fp32_tolerance);
    const auto expected_dx = reference::linear_backward_data(s, widened(dy), widened(w));
    const auto expected = reference::linear_backward_weights(s, widened(dy), widened(x));
    for (const Accumulate accumulate : {Accumulate::assign, Accumulate::add}) {
      const Outputs start{before(accumulate, rows * in, 5), before(accumulate, out_count * in, 6),
                          before(accumulate, out_count, 7)};
      const Outputs out = deterministic([&](CpuExec& exec) {
        Outputs o = start;
        linear_backward_data(exec, s, o[0].data(), accumulate, dy.data(), w.data());
        linear_backward_weights(exec, s, o[1].data(), o[2].data(), accumulate, dy.data(), x.data());
        return o;
      });
      CHECK(relative_error(out[0], after(accumulate, expected_dx, start[0])) <= fp32_tolerance);
      CHECK(relative_error(out[1], after(accumulate, expected.dw, start[1])) <= fp32_tolerance);
      CHECK(relative_error(out[2], after(accumulate, expected.db, start[2])) <= fp32_tolerance);
    }
  }
}

}  // namespace
}  // namespace nepenthe::tests
