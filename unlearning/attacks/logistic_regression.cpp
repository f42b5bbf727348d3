#include "unlearning/attacks/logistic_regression.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include <fmt/format.h>

#include "engine/base/error.h"

namespace nepenthe {
namespace {

constexpr int most_iterations = 2000, most_halvings = 60;
constexpr double tolerance = 1e-11;  // of the gradient, relative
constexpr double stalled_at = 1e-7;  // still good enough where rounding lets the objective fall no further
constexpr double sufficient_decrease = 1e-4;

struct Term {
  double residual, weight;  // p − label and p·(1 − p)
};

// Of a sample with margin m = (w·x + b)·(+1 for label 1, −1 for label 0), without cancellation at either end.
Term term(double margin, double sign) {
  const double e = std::exp(-std::abs(margin));
  const double wrong = margin >= 0 ? e / (1 + e) : 1 / (1 + e);  // probability of the other label
  return {-sign * wrong, e / ((1 + e) * (1 + e))};
}

double log_loss(double margin) {
  return margin >= 0 ? std::log1p(std::exp(-margin)) : -margin + std::log1p(std::exp(margin));
}

class Problem {
 public:
  Problem(std::span<const double> positives, std::span<const double> negatives, double c)
      : x_(positives.begin(), positives.end()), positives_(positives.size()), c_(c) {
    x_.insert(x_.end(), negatives.begin(), negatives.end());
    weights_.resize(x_.size());
  }

  double objective(double w, double b) const {
    double sum = 0;
    for (std::size_t i = 0; i < x_.size(); ++i) sum += log_loss(sign(i) * (w * x_[i] + b));
    return c_ * sum + 0.5 * w * w;
  }

  struct Newton {
    double gradient_w, gradient_b;  // of the objective
    double relative;                // the larger of both, against the absolute sum of its terms
    double step_w, step_b;          // −H⁻¹·gradient
  };

  Newton newton(double w, double b) {
    double gradient_w = 0, gradient_b = 0, terms_w = 0, terms_b = 0, weight = 0, weighted_x = 0;
    for (std::size_t i = 0; i < x_.size(); ++i) {
      const Term t = term(sign(i) * (w * x_[i] + b), sign(i));
      gradient_w += t.residual * x_[i];
      gradient_b += t.residual;
      terms_w += std::abs(t.residual * x_[i]);
      terms_b += std::abs(t.residual);
      weights_[i] = t.weight;
      weight += t.weight;
      weighted_x += t.weight * x_[i];
    }
    // The Schur complement as a sum of squares about the weighted mean: it cannot cancel.
    weight = std::max(weight, std::numeric_limits<double>::min());
    const double mean = weighted_x / weight;
    double scatter = 0;
    for (std::size_t i = 0; i < x_.size(); ++i) scatter += weights_[i] * (x_[i] - mean) * (x_[i] - mean);

    gradient_w = c_ * gradient_w + w;
    gradient_b *= c_;
    const double step_w = -(gradient_w - mean * gradient_b) / (c_ * scatter + 1);
    const double step_b = -gradient_b / (c_ * weight) - mean * step_w;
    const double tiny = std::numeric_limits<double>::min();
    const double relative = std::max(std::abs(gradient_w) / (c_ * terms_w + std::abs(w) + tiny),
                                     std::abs(gradient_b) / (c_ * terms_b + tiny));
    return {gradient_w, gradient_b, relative, step_w, step_b};
  }

 private:
  double sign(std::size_t i) const { return i < positives_ ? 1.0 : -1.0; }

  std::vector<double> x_, weights_;
  std::size_t positives_;
  double c_;
};

}  // namespace

LogisticModel fit_logistic(std::span<const double> positives, std::span<const double> negatives, double c) {
  if (positives.empty() || negatives.empty())
    throw std::invalid_argument(
        fmt::format("[logistic_regression] {} samples of label 1, {} of label 0", positives.size(), negatives.size()));
  Problem problem(positives, negatives, c);
  double w = 0, b = std::log(static_cast<double>(positives.size()) / static_cast<double>(negatives.size()));
  double objective = problem.objective(w, b);
  double relative = std::numeric_limits<double>::infinity();
  for (int iteration = 0; iteration < most_iterations; ++iteration) {
    const Problem::Newton newton = problem.newton(w, b);
    relative = newton.relative;
    const LogisticModel model{w, b, iteration, std::max(std::abs(newton.gradient_w), std::abs(newton.gradient_b))};
    if (relative <= tolerance) return model;

    const double slope = newton.gradient_w * newton.step_w + newton.gradient_b * newton.step_b;
    const double rounding = 1e-13 * objective;
    double length = 1, next = 0;
    int halvings = 0;
    for (; halvings < most_halvings; ++halvings, length /= 2) {
      next = problem.objective(w + length * newton.step_w, b + length * newton.step_b);
      if (next <= objective + sufficient_decrease * length * slope + rounding) break;
    }
    const double next_w = w + length * newton.step_w, next_b = b + length * newton.step_b;
    if (halvings == most_halvings || (next_w == w && next_b == b)) {
      if (relative <= stalled_at) return model;
      break;
    }
    w = next_w;
    b = next_b;
    objective = next;
  }
  throw Error(
      fmt::format("the attack's logistic regression did not converge: relative gradient {:.3g} at coefficient "
                  "{:.6g}, intercept {:.6g}; are the losses finite and below 1e100?",
                  relative, w, b));
}

}  // namespace nepenthe
