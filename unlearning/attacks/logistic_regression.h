// Logistic regression on one feature, fitted to convergence in double.
#pragma once

#include <span>

namespace nepenthe {

/// P(label 1 | x) = 1 / (1 + exp(−(coefficient·x + intercept))).
struct LogisticModel {
  double coefficient = 0, intercept = 0;
  int iterations = 0;   // Newton steps it took
  double gradient = 0;  // largest component left, of the objective below
  /// Whether x gets label 1; as in scikit-learn, the border itself gets 0.
  bool predicts(double x) const { return coefficient * x + intercept > 0; }
};

/// Minimises C·Σ log-loss + ½·coefficient², the intercept unpenalised (scikit-learn's objective for L2), over the
/// samples with label 1 (`positives`) and label 0 (`negatives`), by Newton's method with backtracking line search (Boyd
/// & Vandenberghe, "Convex optimization", §9.5). The penalty makes the optimum unique and finite, also for separable or
/// constant data. Stops when each component of the gradient is below 1e-11 of the absolute sum of its terms.
/// Throws std::invalid_argument where a class is empty, and Error where it does not converge (values not finite or
/// beyond 1e100).
LogisticModel fit_logistic(std::span<const double> positives, std::span<const double> negatives, double c = 1.0);

}  // namespace nepenthe
