#include "unlearning/study/report/estimate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace nepenthe {

double student_t_quantile(int degrees) {
  constexpr std::array table{12.706205, 4.302653, 3.182446, 2.776445, 2.570582,
                             2.446912,  2.364624, 2.306004, 2.262157, 2.228139};
  if (degrees <= static_cast<int>(table.size())) return table[static_cast<std::size_t>(std::max(degrees, 1)) - 1];
  const double z = 1.959963985, v = degrees, z2 = z * z;
  const double g1 = (z2 + 1) * z / 4;
  const double g2 = ((5 * z2 + 16) * z2 + 3) * z / 96;
  const double g3 = (((3 * z2 + 19) * z2 + 17) * z2 - 15) * z / 384;
  const double g4 = ((((79 * z2 + 776) * z2 + 1482) * z2 - 1920) * z2 - 945) * z / 92160;
  return z + g1 / v + g2 / (v * v) + g3 / (v * v * v) + g4 / (v * v * v * v);
}

std::optional<Estimate> estimate(std::span<const double> values) {
  std::vector<double> finite;
  std::ranges::copy_if(values, std::back_inserter(finite), [](double value) { return std::isfinite(value); });
  if (finite.empty()) return std::nullopt;
  const auto n = static_cast<double>(finite.size());
  double sum = 0, squares = 0;
  for (const double value : finite) sum += value;
  Estimate result{.n = static_cast<int>(finite.size()), .mean = sum / n};
  if (result.n == 1) return result;
  for (const double value : finite) squares += (value - result.mean) * (value - result.mean);
  result.half_width = student_t_quantile(result.n - 1) * std::sqrt(squares / (n - 1) / n);
  return result;
}

}  // namespace nepenthe
