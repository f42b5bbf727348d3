#include "kernels/batch_norm.h"

#include "harness.h"
#include "reference/batch_norm.h"

namespace nepenthe::tests {
namespace {

using kernels::BatchNormShape;

const ImageShape images[] = {{1, 1, 1, 16},  {1, 1, 1, 3},   {1, 5, 3, 1},    {3, 7, 5, 5},   {16, 3, 3, 24},
                             {17, 5, 5, 16}, {33, 4, 3, 32}, {133, 2, 3, 64}, {2, 33, 31, 8}, {5, 9, 9, 12}};

template <class Check>
void each_case(Check&& check) {
  for (const ImageShape& image : images) {
    for (const bool add : {false, true}) {
      for (const bool relu : {false, true}) {
        CAPTURE(image.n);
        CAPTURE(image.h);
        CAPTURE(image.w);
        CAPTURE(image.c);
        CAPTURE(add);
        CAPTURE(relu);
        check(BatchNormShape{.image = image, .add = add, .relu = relu, .eps = 1e-3f, .momentum = 0.2f});
      }
    }
  }
}

/// Operands of one case, plain (N, H, W, C).
struct Operands {
  std::vector<float> x, residual, gamma, beta, running_mean, running_var, dy;

  explicit Operands(const BatchNormShape& s, float shift = 0.3f)
      : x(random_floats(s.image.size(), 1, 1.5f, shift)),
        residual(random_floats(s.image.size(), 2)),
        gamma(random_floats(s.image.c, 3, 0.4f, 1)),
        beta(random_floats(s.image.c, 4, 0.4f)),
        running_mean(random_floats(s.image.c, 5)),
        running_var(random_floats(s.image.c, 6, 0.1f, 1)),
        dy(random_floats(s.image.size(), 7)) {}
};

/// y, mean, rstd, running mean, running variance.
Outputs forward(CpuExec& exec, const BatchNormShape& s, const Operands& o) {
  const std::size_t channels = s.image.c;
  const auto x = to_backend(exec, s.image, o.x), residual = to_backend(exec, s.image, o.residual);
  Outputs out{poisoned(s.image.size()), poisoned(channels), poisoned(channels), o.running_mean, o.running_var};
  batch_norm_forward(exec, s, out[0].data(), out[1].data(), out[2].data(), out[3].data(), out[4].data(), x.data(),
                     s.add ? residual.data() : nullptr, o.gamma.data(), o.beta.data());
  out[0] = from_backend(exec, s.image, out[0]);
  return out;
}

TEST_CASE("batch_norm: the reference's backward is the complex step of its forward") {
  for (const bool add : {false, true}) {
    for (const bool relu : {false, true}) {
      const BatchNormShape s{.image = {3, 3, 2, 4}, .add = add, .relu = relu};
      const Operands o(s);
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
      if (add) {
        const auto dresidual = complex_step(residual, [&](const auto& z) { return loss(zx, z, zgamma, zbeta); });
        CHECK(relative_error(gradients.dresidual, dresidual) <= reference_tolerance);
      }
    }
  }
}

TEST_CASE("batch_norm: forward against the reference") {
  MESSAGE(exec_with(1).description());
  each_case([](const BatchNormShape& s) {
    const Operands o(s);
    const Outputs out = deterministic([&](CpuExec& exec) { return forward(exec, s, o); });
    const auto expected =
        reference::batch_norm_forward(s, widened(o.x), widened(o.residual), widened(o.gamma), widened(o.beta));
    CHECK(relative_error(out[0], expected.y) <= fp32_tolerance);
    CHECK(relative_error(out[1], expected.mean) <= fp32_tolerance);
    CHECK(relative_error(out[2], expected.rstd) <= fp32_tolerance);
    const double count = double(s.image.n) * s.image.h * s.image.w;
    auto running_mean = widened(o.running_mean), running_var = widened(o.running_var);
    for (std::size_t c = 0; c < running_mean.size(); ++c) {
      const double unbiased = count > 1 ? expected.var[c] * count / (count - 1) : expected.var[c];
      running_mean[c] = 0.8 * running_mean[c] + 0.2 * expected.mean[c];
      running_var[c] = 0.8 * running_var[c] + 0.2 * unbiased;
    }
    CHECK(relative_error(out[3], running_mean) <= fp32_tolerance);
    CHECK(relative_error(out[4], running_var) <= fp32_tolerance);
  });
}

TEST_CASE("batch_norm: a mean of a thousand standard deviations leaves the variance alone") {
  for (const int channels : {3, 16}) {
    const BatchNormShape s{.image = {33, 8, 7, channels}};
    const Operands o(s, 1500);
    const Outputs out = deterministic([&](CpuExec& exec) { return forward(exec, s, o); });
    const auto expected = reference::batch_norm_forward(s, widened(o.x), {}, widened(o.gamma), widened(o.beta));
    CHECK(relative_error(out[2], expected.rstd) <= fp32_tolerance);
    // The mean itself is rounded to fp32: 6e-8 of it are 6e-5 standard deviations.
    CHECK(relative_error(out[0], expected.y) <= 1e-4);
  }
}

TEST_CASE("batch_norm: inference against the reference") {
  each_case([](const BatchNormShape& s) {
    const Operands o(s);
    const Outputs out = deterministic([&](CpuExec& exec) {
      const auto x = to_backend(exec, s.image, o.x), residual = to_backend(exec, s.image, o.residual);
      auto y = poisoned(s.image.size());
      batch_norm_inference(exec, s, y.data(), x.data(), s.add ? residual.data() : nullptr, o.gamma.data(),
                           o.beta.data(), o.running_mean.data(), o.running_var.data());
      return Outputs{from_backend(exec, s.image, y)};
    });
    auto rstd = widened(o.running_var);
    for (double& r : rstd) r = 1 / std::sqrt(r + double{s.eps});
    const auto expected = reference::batch_norm_apply(s, widened(o.x), widened(o.residual), widened(o.gamma),
                                                      widened(o.beta), widened(o.running_mean), rstd);
    CHECK(relative_error(out[0], expected) <= fp32_tolerance);
  });
}

/// dx, dresidual, dgamma, dbeta; `aliased`: dresidual is dy's own memory.
Outputs backward(CpuExec& exec, const BatchNormShape& s, const Operands& o, const Outputs& saved, Accumulate residuals,
                 Accumulate parameters, bool aliased, const std::vector<float>& dresidual_before) {
  const std::size_t channels = s.image.c;
  const auto x = to_backend(exec, s.image, o.x), y = to_backend(exec, s.image, saved[0]);
  auto dy = to_backend(exec, s.image, o.dy), dresidual = to_backend(exec, s.image, dresidual_before);
  Outputs out{poisoned(s.image.size()), {}, before(parameters, channels, 8), before(parameters, channels, 9)};
  float* to = !s.add ? nullptr : aliased ? dy.data() : dresidual.data();
  batch_norm_backward(exec, s, out[0].data(), to, residuals, out[2].data(), out[3].data(), parameters, dy.data(),
                      x.data(), y.data(), o.gamma.data(), o.beta.data(), saved[1].data(), saved[2].data());
  out[0] = from_backend(exec, s.image, out[0]);
  if (s.add) out[1] = from_backend(exec, s.image, aliased ? dy : dresidual);
  return out;
}

TEST_CASE("batch_norm: backward against the reference") {
  each_case([](const BatchNormShape& s) {
    const Operands o(s);
    const Outputs saved = forward(exec_with(1), s, o);
    // The forward kernel's own y decides about the ReLU: an element at its edge may round either way.
    const auto expected = reference::batch_norm_backward(s, widened(o.dy), widened(o.x), widened(saved[0]),
                                                         widened(o.gamma), widened(saved[1]), widened(saved[2]));
    // dx is a difference, small or zero for a few elements: its error is measured against what is subtracted.
    double difference = 0, norm = 0;
    for (const auto residuals : {Accumulate::assign, Accumulate::add}) {
      for (const auto parameters : {Accumulate::assign, Accumulate::add}) {
        for (const bool aliased : {false, true}) {
          if (aliased && (!s.add || residuals == Accumulate::add)) continue;
          const auto start = before(residuals, s.image.size(), 10);
          const Outputs out = deterministic(
              [&](CpuExec& exec) { return backward(exec, s, o, saved, residuals, parameters, aliased, start); });
          difference = norm = 0;
          for (std::size_t i = 0; i < s.image.size(); ++i) {
            const std::size_t c = i % std::size_t(s.image.c);
            const double scale = double{o.gamma[c]} * saved[2][c] * o.dy[i];
            difference += std::pow(out[0][i] - expected.dx[i], 2);
            norm += scale * scale;
          }
          CHECK(std::sqrt(difference) <= fp32_tolerance * std::sqrt(norm));
          if (s.add) CHECK(relative_error(out[1], after(residuals, expected.dresidual, start)) <= fp32_tolerance);
          if (double(s.image.n) * s.image.h * s.image.w > 1) {
            CHECK(relative_error(out[2], after(parameters, expected.dgamma, before(parameters, s.image.c, 8))) <=
                  fp32_tolerance);
          }
          CHECK(relative_error(out[3], after(parameters, expected.dbeta, before(parameters, s.image.c, 9))) <=
                fp32_tolerance);
        }
      }
    }
  });
}

TEST_CASE("batch_norm: backward masks exactly where y is zero, though it recomputes y") {
  // x takes few values, and beta maps the middle one onto zero as well as rounding allows: a fifth of the outputs are
  // exactly 0 or within a rounding of it. With dy = 1, dbeta counts what passed.
  const BatchNormShape s{.image = {64, 9, 9, 16}, .relu = true};
  Operands o(s);
  for (std::size_t i = 0; i < o.x.size(); ++i) o.x[i] = std::round(o.x[i] * 2) / 2;
  std::fill(o.dy.begin(), o.dy.end(), 1.0f);
  Outputs saved = forward(exec_with(1), s, o);
  for (std::size_t c = 0; c < 16; ++c) o.beta[c] = -(0.5f - saved[1][c]) * (o.gamma[c] * saved[2][c]);
  saved = forward(exec_with(1), s, o);
  const Outputs out = backward(exec_with(1), s, o, saved, Accumulate::assign, Accumulate::assign, false, {});
  std::vector<double> passed(16);
  for (std::size_t i = 0; i < saved[0].size(); ++i) passed[i % 16] += saved[0][i] > 0;
  for (std::size_t c = 0; c < 16; ++c) CHECK(out[3][c] == passed[c]);
}

TEST_CASE("batch_norm: NaN is not rectified away") {
  const BatchNormShape s{.image = {2, 3, 3, 16}, .relu = true};
  Operands o(s);
  o.x[5] = std::numeric_limits<float>::quiet_NaN();
  const Outputs out = forward(exec_with(1), s, o);
  CHECK(std::isnan(out[0][5]));
}

}  // namespace
}  // namespace nepenthe::tests
