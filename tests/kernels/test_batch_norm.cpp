#include "kernels/batch_norm.h"

#include <stdexcept>

#include "backends.h"
#include "reference/batch_norm.h"
#include "tests/cases/batch_norm.h"

namespace nepenthe::tests {
namespace {

using kernels::BatchNormInference;
using kernels::BatchNormShape;

/// Every image up to this size, with every flag.
template <class Check>
void each_case(double most_elements, Check&& check) {
  for (const cases::Image& image : cases::up_to(cases::batch_norm, most_elements, cases::elements)) {
    for (const bool add : {false, true}) {
      for (const bool relu : {false, true}) {
        CAPTURE(image.name);
        CAPTURE(add);
        CAPTURE(relu);
        check(BatchNormShape{.image = image.shape, .add = add, .relu = relu, .eps = 1e-3f, .momentum = 0.2f});
      }
    }
  }
}
const double tested = emulated ? 18'000 : 60'000;
constexpr double differentiated = 100;

/// Operands of one case, plain (N, H, W, C); activations as the backend stores them.
struct Operands {
  std::vector<float> x, residual, gamma, beta, running_mean, running_var, dy;

  template <class Backend>
  Operands(const Backend& backend, const BatchNormShape& s, float shift = 0.3f)
      : x(backend.rounded(random_floats(s.image.size(), 1, 1.5f, shift))),
        residual(backend.rounded(random_floats(s.image.size(), 2))),
        gamma(random_floats(s.image.c, 3, 0.4f, 1)),
        beta(random_floats(s.image.c, 4, 0.4f)),
        running_mean(random_floats(s.image.c, 5)),
        running_var(random_floats(s.image.c, 6, 0.1f, 1)),
        dy(backend.rounded(random_floats(s.image.size(), 7))) {}
};

/// y, mean, rstd, running mean, running variance.
template <class Exec, class T>
Outputs forward(const Run<Exec, T>& run, const BatchNormShape& s, const Operands& o) {
  const auto channels = std::size_t(s.image.c);
  const auto x = run.images(s.image, o.x), residual = run.images(s.image, o.residual);
  const auto gamma = run.upload(o.gamma), beta = run.upload(o.beta);
  auto y = run.images(s.image, poisoned(s.image.size()));
  auto mean = run.upload(poisoned(channels)), rstd = run.upload(poisoned(channels));
  auto running_mean = run.upload(o.running_mean), running_var = run.upload(o.running_var);
  batch_norm_forward<T>(run.exec, {.shape = s,
                                   .y = y.data(),
                                   .mean = mean.data(),
                                   .rstd = rstd.data(),
                                   .running_mean = running_mean.data(),
                                   .running_var = running_var.data(),
                                   .x = x.data(),
                                   .residual = s.add ? residual.data() : nullptr,
                                   .gamma = gamma.data(),
                                   .beta = beta.data()});
  return {run.plain(s.image, y), mean.host(), rstd.host(), running_mean.host(), running_var.host()};
}

TEST_CASE("batch_norm: the reference's backward is the complex step of its forward") {
  each_case(differentiated, [](const BatchNormShape& s) {
    const Operands o(Backend<CpuExec, float>{}, s);
    const auto x = widened(o.x), residual = widened(o.residual), gamma = widened(o.gamma), beta = widened(o.beta);
    const auto dy = widened(o.dy);
    const auto loss = [&](const auto& x_, const auto& residual_, const auto& gamma_, const auto& beta_) {
      return dot(dy, reference::batch_norm_forward(s, x_, residual_, gamma_, beta_).y);
    };
    const auto zx = complexed(x), zresidual = complexed(residual), zgamma = complexed(gamma), zbeta = complexed(beta);
    const auto out = reference::batch_norm_forward(s, x, residual, gamma, beta);
    const auto gradients = reference::batch_norm_backward(s, dy, x, out.y, gamma, out.mean, out.rstd);
    const auto dx = complex_step(x, [&](const auto& z) { return loss(z, zresidual, zgamma, zbeta); });
    const auto dgamma = complex_step(gamma, [&](const auto& z) { return loss(zx, zresidual, z, zbeta); });
    const auto dbeta = complex_step(beta, [&](const auto& z) { return loss(zx, zresidual, zgamma, z); });
    CHECK(relative_error(gradients.dx, dx) <= reference_tolerance);
    CHECK(relative_error(gradients.dgamma, dgamma) <= reference_tolerance);
    CHECK(relative_error(gradients.dbeta, dbeta) <= reference_tolerance);
    if (s.add) {
      const auto dresidual = complex_step(residual, [&](const auto& z) { return loss(zx, z, zgamma, zbeta); });
      CHECK(relative_error(gradients.dresidual, dresidual) <= reference_tolerance);
    }
  });
}

template <class Backend>
void check_forward(const Backend& backend, const BatchNormShape& s) {
  const Operands o(backend, s);
  const Outputs out = deterministic(backend, [&](const auto& run) { return forward(run, s, o); });
  const auto expected =
      reference::batch_norm_forward(s, widened(o.x), widened(o.residual), widened(o.gamma), widened(o.beta));
  CHECK(relative_error(out[0], expected.y) <= backend.tolerance(s.image.size()));
  CHECK(relative_error(out[1], expected.mean) <= fp32_tolerance);
  CHECK(relative_error(out[2], expected.rstd) <= fp32_tolerance);
  const double count = double(s.image.n) * s.image.h * s.image.w;
  auto running_mean = widened(o.running_mean), running_var = widened(o.running_var);
  const double momentum = s.momentum;
  for (std::size_t c = 0; c < running_mean.size(); ++c) {
    const double unbiased = count > 1 ? expected.var[c] * count / (count - 1) : expected.var[c];
    running_mean[c] = (1 - momentum) * running_mean[c] + momentum * expected.mean[c];
    running_var[c] = (1 - momentum) * running_var[c] + momentum * unbiased;
  }
  CHECK(relative_error(out[3], running_mean) <= fp32_tolerance);
  CHECK(relative_error(out[4], running_var) <= fp32_tolerance);
}

TEST_CASE("batch_norm: forward against the reference") {
  each_storage(
      [](const auto& backend) { each_case(tested, [&](const BatchNormShape& s) { check_forward(backend, s); }); });
}

TEST_CASE("batch_norm: a mean of a thousand standard deviations leaves the variance alone") {
  each_storage([](const auto& backend) {
    for (const int channels : {3, 16}) {
      const BatchNormShape s{.image = {33, 8, 7, channels}};
      const Operands o(backend, s, 1500);
      const Outputs out = deterministic(backend, [&](const auto& run) { return forward(run, s, o); });
      const auto expected = reference::batch_norm_forward(s, widened(o.x), {}, widened(o.gamma), widened(o.beta));
      CHECK(relative_error(out[2], expected.rstd) <= fp32_tolerance);
      // The mean itself is rounded to fp32: 6e-8 of it are 6e-5 standard deviations.
      CHECK(relative_error(out[0], expected.y) <= std::max(1e-4, backend.tolerance(s.image.size())));
    }
  });
}

TEST_CASE("batch_norm: inference against the reference") {
  each_storage([](const auto& backend) {
    each_case(tested, [&](const BatchNormShape& s) {
      const Operands o(backend, s);
      const Outputs out = deterministic(backend, [&](const auto& run) {
        const auto x = run.images(s.image, o.x), residual = run.images(s.image, o.residual);
        const auto gamma = run.upload(o.gamma), beta = run.upload(o.beta);
        const auto mean = run.upload(o.running_mean), var = run.upload(o.running_var);
        auto y = run.images(s.image, poisoned(s.image.size()));
        batch_norm_inference(run.exec, BatchNormInference{.shape = s,
                                                          .y = y.data(),
                                                          .x = x.data(),
                                                          .residual = s.add ? residual.data() : nullptr,
                                                          .gamma = gamma.data(),
                                                          .beta = beta.data(),
                                                          .mean = mean.data(),
                                                          .var = var.data()});
        return Outputs{run.plain(s.image, y)};
      });
      auto rstd = widened(o.running_var);
      for (double& r : rstd) r = 1 / std::sqrt(r + double{s.eps});
      const auto expected = reference::batch_norm_apply(s, widened(o.x), widened(o.residual), widened(o.gamma),
                                                        widened(o.beta), widened(o.running_mean), rstd);
      CHECK(relative_error(out[0], expected) <= backend.tolerance(s.image.size()));
    });
  });
}

/// How gradients are delivered; `aliased`: dresidual is dy's own memory.
struct Delivery {
  Accumulate residuals, parameters;
  bool aliased = false;
};

/// dx, dresidual, dgamma, dbeta.
template <class Exec, class T>
Outputs backward(const Run<Exec, T>& run, const BatchNormShape& s, const Operands& o, const Outputs& saved,
                 const Delivery& delivery, const std::vector<float>& dresidual_before) {
  const auto channels = std::size_t(s.image.c);
  const auto x = run.images(s.image, o.x), y = run.images(s.image, saved[0]);
  const auto gamma = run.upload(o.gamma), beta = run.upload(o.beta);
  const auto mean = run.upload(saved[1]), rstd = run.upload(saved[2]);
  auto dy = run.images(s.image, o.dy), dx = run.images(s.image, poisoned(s.image.size()));
  auto dresidual = run.images(s.image, dresidual_before);
  auto dgamma = run.upload(before(delivery.parameters, channels, 8));
  auto dbeta = run.upload(before(delivery.parameters, channels, 9));
  T* to = !s.add ? nullptr : delivery.aliased ? dy.data() : dresidual.data();
  batch_norm_backward<T>(run.exec, {.shape = s,
                                    .dx = dx.data(),
                                    .dresidual = to,
                                    .accumulate_residual = delivery.residuals,
                                    .dgamma = dgamma.data(),
                                    .dbeta = dbeta.data(),
                                    .accumulate = delivery.parameters,
                                    .dy = dy.data(),
                                    .x = x.data(),
                                    .y = y.data(),
                                    .gamma = gamma.data(),
                                    .beta = beta.data(),
                                    .mean = mean.data(),
                                    .rstd = rstd.data()});
  return {run.plain(s.image, dx), run.plain(s.image, delivery.aliased ? dy : dresidual), dgamma.host(), dbeta.host()};
}

template <class Backend>
void check_backward(const Backend& backend, const BatchNormShape& s, const std::vector<Delivery>& deliveries) {
  const Operands o(backend, s);
  const Outputs saved = forward(backend.run(), s, o);
  // The forward kernel's own y decides about the ReLU: an element at its edge may round either way.
  const auto expected = reference::batch_norm_backward(s, widened(o.dy), widened(o.x), widened(saved[0]),
                                                       widened(o.gamma), widened(saved[1]), widened(saved[2]));
  for (const Delivery& delivery : deliveries) {
    if (delivery.aliased && !s.add) continue;
    const auto start = backend.rounded(before(delivery.residuals, s.image.size(), 10));
    const Outputs out =
        deterministic(backend, [&](const auto& run) { return backward(run, s, o, saved, delivery, start); });
    // dx is a difference, small or zero for a few elements: its error is measured against what is subtracted.
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < s.image.size(); ++i) {
      const std::size_t c = i % std::size_t(s.image.c);
      const double scale = double{o.gamma[c]} * saved[2][c] * o.dy[i];
      difference += std::pow(out[0][i] - expected.dx[i], 2);
      norm += scale * scale;
    }
    CHECK(std::sqrt(difference) <= backend.tolerance(s.image.size()) * std::sqrt(norm));
    if (s.add) {
      CHECK(relative_error(out[1], after(delivery.residuals, expected.dresidual, start)) <=
            backend.tolerance(s.image.size()));
    }
    const auto dgamma_before = before(delivery.parameters, std::size_t(s.image.c), 8);
    const auto dbeta_before = before(delivery.parameters, std::size_t(s.image.c), 9);
    if (double(s.image.n) * s.image.h * s.image.w > 1) {
      CHECK(relative_error(out[2], after(delivery.parameters, expected.dgamma, dgamma_before)) <= fp32_tolerance);
    }
    CHECK(relative_error(out[3], after(delivery.parameters, expected.dbeta, dbeta_before)) <= fp32_tolerance);
  }
}

TEST_CASE("batch_norm: backward against the reference") {
  constexpr Accumulate assign = Accumulate::assign, add = Accumulate::add;
  std::vector<Delivery> deliveries{{assign, assign, true}, {assign, assign}, {add, add}};
  if (!emulated) deliveries.insert(deliveries.end(), {{assign, add, true}, {assign, add}, {add, assign}});
  each_storage([&](const auto& backend) {
    each_case(tested, [&](const BatchNormShape& s) { check_backward(backend, s, deliveries); });
  });
}

TEST_CASE("batch_norm: more rows than a GPU's partial sums take in one turn") {
  const BatchNormShape s{.image = {41, 97, 89, 3}, .relu = true};
  each_storage([&](const auto& backend) {
    check_forward(backend, s);
    check_backward(backend, s, {{Accumulate::assign, Accumulate::assign}});
  });
}

TEST_CASE("batch_norm: backward masks exactly where y is zero, though it recomputes y") {
  // x takes few values, and beta maps the middle one onto zero as well as rounding allows: a fifth of the outputs are
  // exactly 0 or within a rounding of it. With dy = 1, dbeta counts what passed.
  const BatchNormShape s{.image = {64, 9, 9, 16}, .relu = true};
  each_storage([&](const auto& backend) {
    Operands o(backend, s);
    for (float& x : o.x) x = std::round(x * 2) / 2;
    std::fill(o.dy.begin(), o.dy.end(), 1.0f);
    Outputs saved = forward(backend.run(), s, o);
    for (std::size_t c = 0; c < 16; ++c) o.beta[c] = -(0.5f - saved[1][c]) * (o.gamma[c] * saved[2][c]);
    saved = forward(backend.run(), s, o);
    const Outputs out = backward(backend.run(), s, o, saved, {Accumulate::assign, Accumulate::assign}, o.residual);
    std::vector<double> passed(16);
    for (std::size_t i = 0; i < saved[0].size(); ++i) passed[i % 16] += saved[0][i] > 0;
    for (std::size_t c = 0; c < 16; ++c) CHECK(out[3][c] == passed[c]);
  });
}

TEST_CASE("batch_norm: NaN is not rectified away") {
  const BatchNormShape s{.image = {2, 3, 3, 16}, .relu = true};
  each_storage([&](const auto& backend) {
    Operands o(backend, s);
    o.x[5] = std::numeric_limits<float>::quiet_NaN();
    const Outputs out = forward(backend.run(), s, o);
    CHECK(std::isnan(out[0][5]));
  });
}

TEST_CASE("batch_norm: shapes without elements are refused") {
  each_backend([](const auto& backend) {
    auto& exec = *backend.execs.front();
    for (const BatchNormShape& s : {BatchNormShape{.image = {0, 3, 3, 16}}, BatchNormShape{.image = {2, 3, 3, -1}}}) {
      CHECK_THROWS_AS(batch_norm_forward<float>(exec, {.shape = s}), std::invalid_argument);
      CHECK_THROWS_AS(batch_norm_inference<float>(exec, {.shape = s}), std::invalid_argument);
      CHECK_THROWS_AS(batch_norm_backward<float>(exec, {.shape = s}), std::invalid_argument);
    }
  });
}

}  // namespace
}  // namespace nepenthe::tests
