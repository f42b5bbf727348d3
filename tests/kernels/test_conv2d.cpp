#include "kernels/conv2d.h"

#include <stdexcept>

#include "harness.h"
#include "kernels/cpu/onednn.h"
#include "kernels/cpu/partition.h"
#include "reference/conv2d.h"

namespace nepenthe::tests {
namespace {

using kernels::Conv2dShape;

/// Whether oneDNN computes this shape by Winograd's algorithm, so that another tolerance holds.
double tolerance(const Conv2dShape& shape, kernels::ConvKind kind) {
  CpuExec& exec = exec_with(1);
  Conv2dShape chunk = shape;
  chunk.n = static_cast<int>(kernels::chunks_of_images(shape.n).size);
  const std::string& name = exec.onednn().plan(exec, kind, chunk).implementation;
  return name.find("wino") == std::string::npos ? fp32_tolerance : winograd_tolerance;
}

void check_forward(const Conv2dShape& s) {
  const auto x = random_floats(s.input().size(), 1), w = random_floats(s.weights(), 2, 0.2f);
  const auto y = deterministic([&](CpuExec& exec) {
    const auto blocked = to_backend(exec, s.input(), x);
    auto out = poisoned(s.output().size());
    conv2d_forward(exec, s, out.data(), blocked.data(), w.data());
    return Outputs{from_backend(exec, s.output(), out)};
  })[0];
  const double error = relative_error(y, reference::conv2d_forward(s, widened(x), widened(w)));
  CHECK(error <= tolerance(s, kernels::ConvKind::forward));
}

void check_backward_data(const Conv2dShape& s, Accumulate accumulate) {
  const auto dy = random_floats(s.output().size(), 3), w = random_floats(s.weights(), 4, 0.2f);
  const auto start = before(accumulate, s.input().size(), 5);
  const auto dx = deterministic([&](CpuExec& exec) {
    const auto blocked = to_backend(exec, s.output(), dy);
    auto out = to_backend(exec, s.input(), start);
    conv2d_backward_data(exec, s, out.data(), accumulate, blocked.data(), w.data());
    return Outputs{from_backend(exec, s.input(), out)};
  })[0];
  const auto expected = reference::conv2d_backward_data(s, widened(dy), widened(w));
  CHECK(relative_error(dx, after(accumulate, expected, start)) <= tolerance(s, kernels::ConvKind::backward_data));
}

void check_backward_weights(const Conv2dShape& s, Accumulate accumulate) {
  const auto dy = random_floats(s.output().size(), 6), x = random_floats(s.input().size(), 7);
  const auto start = before(accumulate, s.weights(), 8);
  const auto dw = deterministic([&](CpuExec& exec) {
    const auto blocked_dy = to_backend(exec, s.output(), dy), blocked_x = to_backend(exec, s.input(), x);
    auto out = start;
    conv2d_backward_weights(exec, s, out.data(), accumulate, blocked_dy.data(), blocked_x.data());
    return Outputs{out};
  })[0];
  const auto expected = reference::conv2d_backward_weights(s, widened(dy), widened(x));
  CHECK(relative_error(dw, after(accumulate, expected, start)) <= tolerance(s, kernels::ConvKind::backward_weights));
}

const Conv2dShape shapes[] = {
    {.n = 17, .h = 9, .w = 7, .c = 3, .out_c = 16, .kernel = 3, .stride = 1, .padding = 1},
    {.n = 1, .h = 5, .w = 6, .c = 1, .out_c = 1, .kernel = 3, .stride = 1, .padding = 0},
    {.n = 3, .h = 7, .w = 5, .c = 5, .out_c = 24, .kernel = 3, .stride = 2, .padding = 1},
    {.n = 16, .h = 11, .w = 11, .c = 3, .out_c = 64, .kernel = 7, .stride = 2, .padding = 3},
    {.n = 33, .h = 8, .w = 8, .c = 16, .out_c = 16, .kernel = 3, .stride = 1, .padding = 1},
    {.n = 3, .h = 9, .w = 9, .c = 16, .out_c = 32, .kernel = 3, .stride = 2, .padding = 1},
    {.n = 17, .h = 7, .w = 7, .c = 16, .out_c = 32, .kernel = 1, .stride = 2, .padding = 0},
    {.n = 3, .h = 6, .w = 5, .c = 24, .out_c = 5, .kernel = 1, .stride = 1, .padding = 0},
    {.n = 1, .h = 8, .w = 8, .c = 24, .out_c = 32, .kernel = 3, .stride = 1, .padding = 1},
    {.n = 3, .h = 13, .w = 9, .c = 32, .out_c = 32, .kernel = 3, .stride = 1, .padding = 1},
    {.n = 133, .h = 5, .w = 5, .c = 32, .out_c = 64, .kernel = 3, .stride = 1, .padding = 1},
    {.n = 33, .h = 8, .w = 8, .c = 64, .out_c = 64, .kernel = 3, .stride = 1, .padding = 1},
    {.n = 1, .h = 8, .w = 8, .c = 64, .out_c = 32, .kernel = 3, .stride = 1, .padding = 0},
    {.n = 2, .h = 3, .w = 3, .c = 64, .out_c = 64, .kernel = 3, .stride = 2, .padding = 1},
    {.n = 2, .h = 1, .w = 1, .c = 32, .out_c = 32, .kernel = 3, .stride = 1, .padding = 1},
};

std::string text(const Conv2dShape& s) {
  std::string all;
  for (const int number : {s.n, s.h, s.w, s.c, s.out_c, s.kernel, s.stride, s.padding}) {
    all += std::to_string(number) + " ";
  }
  return all;
}

TEST_CASE("conv2d: the reference's backward is the complex step of its forward") {
  const Conv2dShape small[] = {
      {.n = 2, .h = 5, .w = 4, .c = 3, .out_c = 2, .kernel = 3, .stride = 1, .padding = 1},
      {.n = 1, .h = 6, .w = 7, .c = 2, .out_c = 3, .kernel = 3, .stride = 2, .padding = 0},
      {.n = 1, .h = 7, .w = 7, .c = 1, .out_c = 2, .kernel = 7, .stride = 2, .padding = 3},
  };
  for (const Conv2dShape& s : small) {
    const auto x = widened(random_floats(s.input().size(), 10)), w = widened(random_floats(s.weights(), 11));
    const auto dy = widened(random_floats(s.output().size(), 12));
    const auto zx = complexed(x), zw = complexed(w);
    const auto dx = complex_step(x, [&](const auto& z) { return dot(dy, reference::conv2d_forward(s, z, zw)); });
    const auto dw = complex_step(w, [&](const auto& z) { return dot(dy, reference::conv2d_forward(s, zx, z)); });
    CHECK(relative_error(reference::conv2d_backward_data(s, dy, w), dx) <= reference_tolerance);
    CHECK(relative_error(reference::conv2d_backward_weights(s, dy, x), dw) <= reference_tolerance);
  }
}

TEST_CASE("conv2d: all three against the reference") {
  MESSAGE(exec_with(1).description());
  for (const Conv2dShape& s : shapes) {
    CAPTURE(text(s));
    check_forward(s);
    for (const Accumulate accumulate : {Accumulate::assign, Accumulate::add}) {
      check_backward_data(s, accumulate);
      check_backward_weights(s, accumulate);
    }
  }
}

TEST_CASE("conv2d: impossible shapes are refused") {
  CpuExec& exec = exec_with(1);
  float one = 0;
  const Conv2dShape good{.n = 1, .h = 2, .w = 2, .c = 1, .out_c = 1, .kernel = 1, .stride = 1, .padding = 0};
  for (int field = 0; field < 6; ++field) {
    Conv2dShape bad = good;
    if (field == 0) bad.kernel = 3;
    if (field == 1) bad.n = 0;
    if (field == 2) bad.stride = 0;
    if (field == 3) bad.padding = -1;
    if (field == 4) bad.w = 0;
    if (field == 5) bad.out_c = -4;
    CHECK_THROWS_AS(conv2d_forward(exec, bad, &one, &one, &one), std::invalid_argument);
    CHECK_THROWS_AS(conv2d_backward_data(exec, bad, &one, Accumulate::assign, &one, &one), std::invalid_argument);
    CHECK_THROWS_AS(conv2d_backward_weights(exec, bad, &one, Accumulate::assign, &one, &one), std::invalid_argument);
  }
}

TEST_CASE("conv2d: the shapes of residual networks run on generated code, whole chunks and rests") {
  CpuExec& exec = exec_with(1);
  if (exec.isa() == kernels::Isa::v2) return;
  for (const int n : {1, 2, 8, 16}) {
    for (const Conv2dShape& s : {Conv2dShape{n, 32, 32, 3, 16, 3, 1, 1}, Conv2dShape{n, 32, 32, 16, 16, 3, 1, 1},
                                 Conv2dShape{n, 32, 32, 16, 32, 3, 2, 1}, Conv2dShape{n, 32, 32, 16, 32, 1, 2, 0},
                                 Conv2dShape{n, 16, 16, 32, 32, 3, 1, 1}, Conv2dShape{n, 16, 16, 32, 64, 3, 2, 1},
                                 Conv2dShape{n, 16, 16, 32, 64, 1, 2, 0}, Conv2dShape{n, 8, 8, 64, 64, 3, 1, 1}}) {
      for (const auto kind :
           {kernels::ConvKind::forward, kernels::ConvKind::backward_data, kernels::ConvKind::backward_weights}) {
        if (s.c == 3 && kind == kernels::ConvKind::backward_data) continue;  // no one asks for it
        const std::string& name = exec.onednn().plan(exec, kind, s).implementation;
        CAPTURE(text(s));
        CAPTURE(static_cast<int>(kind));
        CAPTURE(name);
        CHECK(name.starts_with("jit"));
      }
    }
  }
}

}  // namespace
}  // namespace nepenthe::tests
