// A quantity over several seeds.
#pragma once

#include <optional>
#include <span>

namespace nepenthe {

/// The mean of n independent values with its 95 % interval, mean ± half_width, by Student's t. Of one value there is no
/// interval.
struct Estimate {
  int n = 0;
  double mean = 0;
  std::optional<double> half_width;
};
/// None of no values. Values that are not finite are none.
std::optional<Estimate> estimate(std::span<const double> values);

/// The 97.5 % quantile of Student's t with that many degrees of freedom, at least 1: from the usual table up to 10,
/// then by the expansion in 1/ν (Abramowitz & Stegun 26.7.5); wrong by less than 1e-5.
double student_t_quantile(int degrees);

}  // namespace nepenthe
