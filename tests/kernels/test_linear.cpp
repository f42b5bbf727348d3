#include "kernels/linear.h"

#include "backends.h"
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

template <class Backend>
void check(const Backend& backend, const LinearShape& s) {
  // Products of fp32 numbers: in every precision but fp32 they may be computed in TF32.
  const double tolerance = backend.precision == Precision::fp32 ? fp32_tolerance : tf32_tolerance;
  const std::size_t rows = s.rows, in = s.in, out_count = s.out;
  const auto x = random_floats(rows * in, 1), w = random_floats(out_count * in, 2), b = random_floats(out_count, 3);
  const auto dy = random_floats(rows * out_count, 4);
  const Outputs y = deterministic(backend, [&](const auto& run) {
    const auto rows_in = run.upload(x), weights = run.upload(w), bias = run.upload(b);
    auto out = run.upload(poisoned(rows * out_count));
    linear_forward(run.exec, s, out.data(), rows_in.data(), weights.data(), bias.data());
    return Outputs{out.host()};
  });
  CHECK(relative_error(y[0], reference::linear_forward(s, widened(x), widened(w), widened(b))) <= tolerance);
  const auto expected_dx = reference::linear_backward_data(s, widened(dy), widened(w));
  const auto expected = reference::linear_backward_weights(s, widened(dy), widened(x));
  for (const Accumulate accumulate : {Accumulate::assign, Accumulate::add}) {
    const Outputs start{before(accumulate, rows * in, 5), before(accumulate, out_count * in, 6),
                        before(accumulate, out_count, 7)};
    const Outputs out = deterministic(backend, [&](const auto& run) {
      const auto rows_in = run.upload(x), weights = run.upload(w), gradients = run.upload(dy);
      auto dx = run.upload(start[0]), dw = run.upload(start[1]), db = run.upload(start[2]);
      linear_backward_data(run.exec, s, dx.data(), accumulate, gradients.data(), weights.data());
      linear_backward_weights(run.exec, s, dw.data(), db.data(), accumulate, gradients.data(), rows_in.data());
      return Outputs{dx.host(), dw.host(), db.host()};
    });
    CHECK(relative_error(out[0], after(accumulate, expected_dx, start[0])) <= tolerance);
    CHECK(relative_error(out[1], after(accumulate, expected.dw, start[1])) <= tolerance);
    CHECK(relative_error(out[2], after(accumulate, expected.db, start[2])) <= fp32_tolerance);  // sums, no products
  }
}

TEST_CASE("linear: all three against the reference") {
  each_precision([](const auto& backend) {
    for (const LinearShape& s : shapes) {
      CAPTURE(s.rows);
      CAPTURE(s.in);
      CAPTURE(s.out);
      check(backend, s);
    }
  });
}

#if defined(NEPENTHE_CUDA)
TEST_CASE("linear: CUDA refuses shapes without output or depth") {
  on_cuda<float>(Precision::fp32, [](const auto& backend) {
    const auto run = backend.run();
    auto numbers = run.upload(std::vector<float>(1));
    float* const x = numbers.data();
    for (const LinearShape& s : {LinearShape{0, 1, 1}, LinearShape{1, 0, 1}, LinearShape{1, 1, -1}}) {
      CHECK_THROWS_AS(linear_forward(run.exec, s, x, x, x, x), std::invalid_argument);
      CHECK_THROWS_AS(linear_backward_data(run.exec, s, x, Accumulate::assign, x, x), std::invalid_argument);
      CHECK_THROWS_AS(linear_backward_weights(run.exec, s, x, x, Accumulate::assign, x, x), std::invalid_argument);
    }
  });
}
#endif

}  // namespace
}  // namespace nepenthe::tests
