#include "kernels/conv2d.h"

#include <functional>
#include <stdexcept>

#include "backends.h"
#include "kernels/batch_norm.h"
#include "kernels/conv_algorithms.h"
#include "kernels/cpu/winograd.h"
#include "reference/conv2d.h"
#include "tests/cases/conv2d.h"

namespace nepenthe::tests {
namespace {

using kernels::Conv2dBackwardData;
using kernels::Conv2dBackwardWeights;
using kernels::Conv2dForward;
using kernels::Conv2dShape;

/// For results stored as activations, or as fp32 in the case of weight gradients.
template <class Exec, class T>
double tolerance(const Backend<Exec, T>& backend, const Conv2dShape& shape, Accumulate accumulate,
                 std::size_t elements) {
  if constexpr (backend.on_cpu) {
    const double arithmetic = kernels::suits_winograd(exec_with(1), shape) ? winograd_tolerance : fp32_tolerance;
    return std::max(arithmetic, backend.tolerance(elements));
  }
  if (backend.precision == Precision::tf32) return tf32_tolerance;
  // Weight gradients too, though fp32, have been written as bf16 by the library; and a convolution and its sum with
  // what was there may be rounded one after the other.
  return (accumulate == Accumulate::add ? 2 : 1) * backend.tolerance(elements);
}

template <class Backend>
void check_forward(const Backend& backend, const Conv2dShape& s) {
  const auto x = backend.rounded(random_floats(s.input().size(), 1));
  const auto w = backend.rounded(random_floats(s.weights(), 2, 0.2f));
  const auto y = deterministic(backend, [&](const auto& run) {
    const auto images = run.images(s.input(), x), filters = run.stored(w);
    auto out = run.images(s.output(), poisoned(s.output().size()));
    conv2d_forward(run.exec, Conv2dForward{.shape = s, .y = out.data(), .x = images.data(), .w = filters.data()});
    return Outputs{run.plain(s.output(), out)};
  })[0];
  const double error = relative_error(y, reference::conv2d_forward(s, widened(x), widened(w)));
  CHECK(error <= tolerance(backend, s, Accumulate::assign, y.size()));
}

template <class Backend>
void check_backward_data(const Backend& backend, const Conv2dShape& s, Accumulate accumulate) {
  const auto dy = backend.rounded(random_floats(s.output().size(), 3));
  const auto w = backend.rounded(random_floats(s.weights(), 4, 0.2f));
  const auto start = backend.rounded(before(accumulate, s.input().size(), 5));
  const auto dx = deterministic(backend, [&](const auto& run) {
    const auto gradients = run.images(s.output(), dy), filters = run.stored(w);
    auto out = run.images(s.input(), start);
    conv2d_backward_data(
        run.exec,
        Conv2dBackwardData{
            .shape = s, .dx = out.data(), .accumulate = accumulate, .dy = gradients.data(), .w = filters.data()});
    return Outputs{run.plain(s.input(), out)};
  })[0];
  const auto expected = reference::conv2d_backward_data(s, widened(dy), widened(w));
  CHECK(relative_error(dx, after(accumulate, expected, start)) <= tolerance(backend, s, accumulate, dx.size()));
}

template <class Backend>
void check_backward_weights(const Backend& backend, const Conv2dShape& s, Accumulate accumulate) {
  const auto dy = backend.rounded(random_floats(s.output().size(), 6));
  const auto x = backend.rounded(random_floats(s.input().size(), 7));
  const auto start = before(accumulate, s.weights(), 8);
  const auto dw = deterministic(backend, [&](const auto& run) {
    const auto gradients = run.images(s.output(), dy), images = run.images(s.input(), x);
    auto out = run.upload(start);
    conv2d_backward_weights(
        run.exec,
        Conv2dBackwardWeights{
            .shape = s, .dw = out.data(), .accumulate = accumulate, .dy = gradients.data(), .x = images.data()});
    return Outputs{out.host()};
  })[0];
  const auto expected = reference::conv2d_backward_weights(s, widened(dy), widened(x));
  CHECK(relative_error(dw, after(accumulate, expected, start)) <= tolerance(backend, s, accumulate, dw.size()));
}

TEST_CASE("conv2d: the reference's backward is the complex step of its forward") {
  const auto cost = [](const Conv2dShape& s) { return cases::products(s) * double(s.input().size() + s.weights()); };
  for (const auto& [name, s, network] : cases::up_to(cases::conv2d, 500'000, cost)) {
    CAPTURE(name);
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
  each_precision([](const auto& backend) {
    for (const auto& [name, s, network] : cases::up_to(
             cases::conv2d, emulated ? 3e6 : 1e8, [](const Conv2dShape& shape) { return cases::products(shape); })) {
      CAPTURE(name);
      check_forward(backend, s);
      for (const Accumulate accumulate : {Accumulate::assign, Accumulate::add}) {
        check_backward_data(backend, s, accumulate);
        check_backward_weights(backend, s, accumulate);
      }
    }
  });
}

/// y and dw of a convolution of relu(norm(x)), which is computed before it or on its way in.
template <class Backend>
Outputs of_normalised(const Backend& backend, const Conv2dShape& s, bool before) {
  const auto channels = static_cast<std::size_t>(s.c);
  return deterministic(backend, [&](const auto& run) {
    const auto x = run.images(s.input(), random_floats(s.input().size(), 1));
    const auto dy = run.images(s.output(), random_floats(s.output().size(), 2));
    const auto w = run.stored(random_floats(s.weights(), 3, 0.2f));
    const auto gamma = run.upload(random_floats(channels, 4)), beta = run.upload(random_floats(channels, 5));
    auto mean = run.upload(poisoned(channels)), rstd = run.upload(poisoned(channels));
    auto running_mean = run.upload(std::vector<float>(channels)),
         running_var = run.upload(std::vector<float>(channels));
    auto normalised = run.images(s.input(), poisoned(s.input().size()));
    kernels::batch_norm_forward<float>(run.exec, {.shape = {.image = s.input(), .relu = true},
                                                  .y = before ? normalised.data() : nullptr,
                                                  .mean = mean.data(),
                                                  .rstd = rstd.data(),
                                                  .running_mean = running_mean.data(),
                                                  .running_var = running_var.data(),
                                                  .x = x.data(),
                                                  .residual = nullptr,
                                                  .gamma = gamma.data(),
                                                  .beta = beta.data()});
    const auto* const input = before ? normalised.data() : x.data();
    kernels::InputNorm norm;
    if (!before) norm = {.mean = mean.data(), .rstd = rstd.data(), .gamma = gamma.data(), .beta = beta.data()};
    auto y = run.images(s.output(), poisoned(s.output().size()));
    conv2d_forward(run.exec, Conv2dForward{.shape = s, .y = y.data(), .x = input, .w = w.data(), .norm = norm});
    auto dw = run.upload(poisoned(s.weights()));
    conv2d_backward_weights(
        run.exec,
        Conv2dBackwardWeights{
            .shape = s, .dw = dw.data(), .accumulate = Accumulate::assign, .dy = dy.data(), .x = input, .norm = norm});
    return Outputs{y.host(), dw.host(), mean.host(), rstd.host(), running_mean.host(), running_var.host()};
  });
}

template <class T>
void check_narrow_weights(const Backend<CudaExec, T>& backend, const Conv2dShape& s) {
  const auto dy = random_floats(s.output().size(), 6), x = random_floats(s.input().size(), 7);
  const auto untouched = random_floats(s.weights(), 8);
  const Outputs out = deterministic(backend, [&](const auto& run) {
    const auto gradients = run.images(s.output(), dy), images = run.images(s.input(), x);
    auto wide = run.upload(poisoned(s.weights())), beside = run.upload(untouched);
    auto narrow = run.stored(poisoned(s.weights()));
    Conv2dBackwardWeights<T> operands{
        .shape = s, .dw = wide.data(), .accumulate = Accumulate::assign, .dy = gradients.data(), .x = images.data()};
    conv2d_backward_weights(run.exec, operands);
    operands.dw = beside.data();
    operands.narrow_dw = narrow.data();
    conv2d_backward_weights(run.exec, operands);
    return Outputs{wide.host(), floats_of(narrow.host()), beside.host()};
  });
  CHECK(same_bits(out[1], out[0]));
  CHECK(same_bits(out[2], untouched));
}

TEST_CASE("conv2d: gradients of filters in bf16 are those in fp32") {
  on_cuda<bf16>(Precision::bf16, [](const auto& backend) {
    for (const auto& [name, s, network] : cases::up_to(
             cases::conv2d, emulated ? 1e6 : 1e8, [](const Conv2dShape& shape) { return cases::products(shape); })) {
      CAPTURE(name);
      check_narrow_weights(backend, s);
    }
  });
}

TEST_CASE("conv2d: gradients of filters in bf16 that are added, or of fp32 operands, are refused") {
  const Conv2dShape s{.n = 1, .h = 2, .w = 2, .c = 1, .out_c = 1, .kernel = 1, .stride = 1, .padding = 0};
  const auto refused = [&](const auto& backend, Accumulate accumulate) {
    const auto run = backend.run();
    const auto all = run.stored(std::vector<float>(4));
    auto narrow = run.upload(std::vector<bf16>(4));
    CHECK_THROWS_AS(conv2d_backward_weights(run.exec, Conv2dBackwardWeights{.shape = s,
                                                                            .dw = nullptr,
                                                                            .narrow_dw = narrow.data(),
                                                                            .accumulate = accumulate,
                                                                            .dy = all.data(),
                                                                            .x = all.data()}),
                    std::invalid_argument);
  };
  on_cuda<float>(Precision::fp32, [&](const auto& backend) { refused(backend, Accumulate::assign); });
  on_cuda<bf16>(Precision::bf16, [&](const auto& backend) { refused(backend, Accumulate::add); });
}

TEST_CASE("conv2d: an input normalised on its way in gives the bits of one normalised before") {
  on_cpu<float>(Precision::fp32, [](const auto& backend) {
    int taken = 0;
    for (const auto& [name, s, network] :
         cases::up_to(cases::conv2d, 1e8, [](const Conv2dShape& shape) { return cases::products(shape); })) {
      if (!kernels::normalises_input(exec_with(1), s)) continue;
      CAPTURE(name);
      const Outputs before = of_normalised(backend, s, true), on_its_way = of_normalised(backend, s, false);
      for (std::size_t i = 0; i < before.size(); ++i) CHECK(same_bits(on_its_way[i], before[i]));
      ++taken;
    }
    CHECK(taken > 5);
  });
}

/// relu?(norm(y) [+ residual]) of a convolution with given statistics, which is computed behind it or on its way out.
template <class Backend>
std::vector<float> normalised_output(const Backend& backend, const Conv2dShape& s, bool add, bool relu, bool behind) {
  const auto channels = static_cast<std::size_t>(s.out_c);
  return deterministic(backend, [&](const auto& run) {
    using T = std::decay_t<decltype(*run.stored({}).data())>;
    const auto x = run.images(s.input(), random_floats(s.input().size(), 1));
    const auto w = run.stored(random_floats(s.weights(), 2, 0.2f));
    const auto residual = run.images(s.output(), random_floats(s.output().size(), 3));
    const auto mean = run.upload(random_floats(channels, 4)), var = run.upload(random_floats(channels, 5, 0.1f, 1));
    const auto gamma = run.upload(random_floats(channels, 6)), beta = run.upload(random_floats(channels, 7));
    auto y = run.images(s.output(), poisoned(s.output().size()));
    auto result = run.images(s.output(), poisoned(s.output().size()));
    kernels::OutputNorm<T> norm;
    if (!behind) {
      norm = {.mean = mean.data(),
              .var = var.data(),
              .gamma = gamma.data(),
              .beta = beta.data(),
              .eps = 1e-3f,
              .residual = add ? residual.data() : nullptr,
              .relu = relu};
    }
    kernels::conv2d_forward<T>(
        run.exec, {.shape = s, .y = y.data(), .x = x.data(), .w = w.data(), .norm = {}, .output_norm = norm});
    if (!behind) return Outputs{run.plain(s.output(), y)};
    kernels::batch_norm_inference<T>(run.exec, {.shape = {.image = s.output(), .add = add, .relu = relu, .eps = 1e-3f},
                                                .y = result.data(),
                                                .x = y.data(),
                                                .residual = add ? residual.data() : nullptr,
                                                .gamma = gamma.data(),
                                                .beta = beta.data(),
                                                .mean = mean.data(),
                                                .var = var.data()});
    return Outputs{run.plain(s.output(), result)};
  })[0];
}

template <class Backend>
void each_normalised_output(
    const Backend& backend,
    const std::function<void(const std::vector<float>& behind, const std::vector<float>& on_its_way)>& check) {
  for (const auto& [name, s, network] :
       cases::up_to(cases::conv2d, 2e7, [](const Conv2dShape& shape) { return cases::products(shape); })) {
    for (const bool add : {false, true}) {
      for (const bool relu : {false, true}) {
        CAPTURE(name);
        CAPTURE(add);
        CAPTURE(relu);
        check(normalised_output(backend, s, add, relu, true), normalised_output(backend, s, add, relu, false));
      }
    }
  }
}

TEST_CASE("conv2d: an output normalised on its way out is one normalised behind the convolution") {
  on_cpu<float>(Precision::fp32, [](const auto& backend) {
    each_normalised_output(backend,
                           [](const auto& behind, const auto& on_its_way) { CHECK(same_bits(on_its_way, behind)); });
  });
  on_cpu<bf16>(Precision::bf16, [](const auto& backend) {  // but for what is rounded in between
    each_normalised_output(backend, [](const auto& behind, const auto& on_its_way) {
      CHECK(relative_error(on_its_way, widened(behind)) <= 2 * bf16_tolerance(behind.size()));
    });
  });
}

TEST_CASE("conv2d: impossible shapes, and what is not taken, are refused") {
  const Conv2dShape good{.n = 1, .h = 2, .w = 2, .c = 1, .out_c = 1, .kernel = 1, .stride = 1, .padding = 0};
  each_storage([&](const auto& backend) {
    const auto run = backend.run();
    auto one = run.stored({0});
    auto dw = run.upload(std::vector<float>{0});
    for (int field = 0; field < 6; ++field) {
      Conv2dShape bad = good;
      if (field == 0) bad.kernel = 3;
      if (field == 1) bad.n = 0;
      if (field == 2) bad.stride = 0;
      if (field == 3) bad.padding = -1;
      if (field == 4) bad.w = 0;
      if (field == 5) bad.out_c = -4;
      auto* const all = one.data();
      CHECK_THROWS_AS(conv2d_forward(run.exec, Conv2dForward{.shape = bad, .y = all, .x = all, .w = all}),
                      std::invalid_argument);
      CHECK_THROWS_AS(conv2d_backward_data(run.exec, Conv2dBackwardData{.shape = bad, .dx = all, .dy = all, .w = all}),
                      std::invalid_argument);
      CHECK_THROWS_AS(
          conv2d_backward_weights(run.exec, Conv2dBackwardWeights{.shape = bad, .dw = dw.data(), .dy = all, .x = all}),
          std::invalid_argument);
    }
    // A normalisation on the way in, which products of patches do not take, nor any convolution on CUDA.
    auto numbers = run.upload(std::vector<float>{1});
    auto* const all = one.data();
    const kernels::InputNorm norm{numbers.data(), numbers.data(), numbers.data(), numbers.data()};
    CHECK_THROWS_AS(conv2d_forward(run.exec, Conv2dForward{.shape = good, .y = all, .x = all, .w = all, .norm = norm}),
                    std::invalid_argument);
    CHECK_THROWS_AS(
        conv2d_backward_weights(
            run.exec, Conv2dBackwardWeights{.shape = good, .dw = dw.data(), .dy = all, .x = all, .norm = norm}),
        std::invalid_argument);
  });
}

TEST_CASE("conv2d: the CPU has no engines to choose from" * doctest::skip(emulated)) {
  CpuExec& exec = exec_with(1);
  kernels::use_conv_algorithms(exec, {{"any", {}}});
  CHECK(!kernels::measure_conv_algorithms(exec));
  CHECK(kernels::conv_algorithms(exec).empty());
}

TEST_CASE("conv2d: engines are recorded, and those of a record are taken") {
  if (!cuda_exec(Precision::fp32)) return;
  const Conv2dShape s{.n = 3, .h = 9, .w = 9, .c = 16, .out_c = 32, .kernel = 3, .stride = 2, .padding = 1};
  const auto x = random_floats(s.input().size(), 1), w = random_floats(s.weights(), 2, 0.2f);
  const auto convolved = [&](CudaExec& exec) {
    const Run<CudaExec, float> run{exec};
    const auto images = run.images(s.input(), x), filters = run.stored(w);
    auto out = run.images(s.output(), poisoned(s.output().size()));
    conv2d_forward<float>(exec, {.shape = s, .y = out.data(), .x = images.data(), .w = filters.data()});
    return run.plain(s.output(), out);
  };

  CudaExec first;
  CHECK(kernels::conv_algorithms(first).empty());
  const auto y = convolved(first);
  const kernels::ConvAlgorithms record = kernels::conv_algorithms(first);
  REQUIRE(record.size() == 1);
  CHECK(record.begin()->first == "forward fp32 n3 h9 w9 c16 k32 r3 s2 p1");

  CudaExec second;
  kernels::use_conv_algorithms(second, record);
  CHECK(same_bits(convolved(second), y));
  CHECK(kernels::conv_algorithms(second) == record);

  CudaExec measuring;
  CHECK(kernels::measure_conv_algorithms(measuring));
  convolved(measuring);  // its output is undefined
  CHECK(kernels::conv_algorithms(measuring).size() == 1);
  CHECK(relative_error(convolved(measuring), reference::conv2d_forward(s, widened(x), widened(w))) <= fp32_tolerance);

  CudaExec misled;
  kernels::ConvAlgorithms wrong = record;
  wrong.begin()->second.index = 1 << 20;
  kernels::use_conv_algorithms(misled, wrong);
  CHECK_THROWS_AS(convolved(misled), std::runtime_error);
}

}  // namespace
}  // namespace nepenthe::tests
