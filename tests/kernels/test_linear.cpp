#include "kernels/linear.h"

#include <stdexcept>

#include "backends.h"
#include "reference/linear.h"
#include "tests/cases/linear.h"

namespace nepenthe::tests {
namespace {

using kernels::LinearShape;

double cost(const LinearShape& s) { return cases::products(s); }

TEST_CASE("linear: the reference's backward is the complex step of its forward") {
  for (const auto& [name, s, network] : cases::up_to(cases::linear, 200, cost)) {
    CAPTURE(name);
    const std::size_t rows = s.rows, in = s.in, out = s.out;
    const auto x = widened(random_floats(rows * in, 1)), w = widened(random_floats(out * in, 2));
    const auto b = widened(random_floats(out, 3)), dy = widened(random_floats(rows * out, 4));
    const auto zx = complexed(x), zw = complexed(w), zb = complexed(b);
    const auto dx = complex_step(x, [&](const auto& z) { return dot(dy, reference::linear_forward(s, z, zw, zb)); });
    const auto dw = complex_step(w, [&](const auto& z) { return dot(dy, reference::linear_forward(s, zx, z, zb)); });
    const auto db = complex_step(b, [&](const auto& z) { return dot(dy, reference::linear_forward(s, zx, zw, z)); });
    const auto gradients = reference::linear_backward_weights(s, dy, x);
    CHECK(relative_error(reference::linear_backward_data(s, dy, w), dx) <= reference_tolerance);
    CHECK(relative_error(gradients.dw, dw) <= reference_tolerance);
    CHECK(relative_error(gradients.db, db) <= reference_tolerance);
  }
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
    linear_forward(run.exec, {.shape = s, .y = out.data(), .x = rows_in.data(), .w = weights.data(), .b = bias.data()});
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
      linear_backward_data(
          run.exec,
          {.shape = s, .dx = dx.data(), .accumulate = accumulate, .dy = gradients.data(), .w = weights.data()});
      linear_backward_weights(run.exec, {.shape = s,
                                         .dw = dw.data(),
                                         .db = db.data(),
                                         .accumulate = accumulate,
                                         .dy = gradients.data(),
                                         .x = rows_in.data()});
      return Outputs{dx.host(), dw.host(), db.host()};
    });
    CHECK(relative_error(out[0], after(accumulate, expected_dx, start[0])) <= tolerance);
    CHECK(relative_error(out[1], after(accumulate, expected.dw, start[1])) <= tolerance);
    CHECK(relative_error(out[2], after(accumulate, expected.db, start[2])) <= fp32_tolerance);  // sums, no products
  }
}

TEST_CASE("linear: all three against the reference") {
  each_precision([](const auto& backend) {
    for (const auto& [name, s, network] : cases::up_to(cases::linear, 1e7, cost)) {
      CAPTURE(name);
      check(backend, s);
    }
  });
}

TEST_CASE("linear: shapes without output or depth are refused") {
  each_backend([](const auto& backend) {
    auto& exec = *backend.execs.front();
    for (const LinearShape& s : {LinearShape{0, 1, 1}, LinearShape{1, 0, 1}, LinearShape{1, 1, -1}}) {
      CHECK_THROWS_AS(linear_forward(exec, {.shape = s}), std::invalid_argument);
      CHECK_THROWS_AS(linear_backward_data(exec, {.shape = s}), std::invalid_argument);
      CHECK_THROWS_AS(linear_backward_weights(exec, {.shape = s}), std::invalid_argument);
    }
  });
}

}  // namespace
}  // namespace nepenthe::tests
