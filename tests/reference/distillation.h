// Scalar distillation.
#pragma once

#include "reference/softmax_cross_entropy.h"

namespace nepenthe::reference {

template <class T>
std::vector<T> softmax_at(const kernels::LogitsShape& s, std::vector<T> logits, double temperature) {
  for (T& logit : logits) logit /= temperature;
  return softmax(s, logits);
}

/// temperature²·KL(softmax(teacher/temperature) ‖ softmax(student/temperature)), summed over the rows.
template <class T>
T distillation_forward(const kernels::LogitsShape& s, const std::vector<T>& student, const std::vector<double>& teacher,
                       double temperature) {
  const std::vector<T> p = softmax_at(s, student, temperature);
  const std::vector<double> q = softmax_at(s, teacher, temperature);
  T sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) sum += q[i] * (std::log(q[i]) - std::log(p[i]));
  return temperature * temperature * sum;
}

/// Its gradient with respect to the student's logits, times `scale`.
inline std::vector<double> distillation_backward(const kernels::LogitsShape& s, const std::vector<double>& student,
                                                 const std::vector<double>& teacher, double temperature, double scale) {
  std::vector<double> gradient = softmax_at(s, student, temperature);
  const std::vector<double> q = softmax_at(s, teacher, temperature);
  for (std::size_t i = 0; i < q.size(); ++i) gradient[i] = scale * temperature * (gradient[i] - q[i]);
  return gradient;
}

}  // namespace nepenthe::reference
