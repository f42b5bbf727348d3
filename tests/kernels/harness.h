// What tests of numbers share: random operands, poisoned outputs, layouts, errors in norm, derivatives by the complex
// step.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <complex>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numbers>
#include <vector>

#include "engine/base/philox.h"
#include "kernels/exec.h"
#include "kernels/layout.h"
#include "kernels/shapes.h"
#include "tolerances.h"

namespace nepenthe::tests {

using kernels::Accumulate;
using kernels::CpuExec;
using kernels::ImageShape;

inline std::vector<float> poisoned(std::size_t count) {
  return std::vector<float>(count, std::numeric_limits<float>::quiet_NaN());
}

/// Normally distributed numbers, other ones for each purpose.
inline std::vector<float> random_floats(std::size_t count, std::uint32_t purpose, float scale = 1, float shift = 0) {
  std::vector<float> values(count);
  const RandomStream stream{.seed = 20240917, .purpose = purpose};
  for (std::size_t i = 0; i < count; ++i) {
    const Random4 bits = random_bits(stream, static_cast<std::uint32_t>(i));
    const double radius = std::sqrt(-2 * std::log((bits.x + 1.0) * 0x1.0p-32));
    const double normal = radius * std::cos(2 * std::numbers::pi * bits.y * 0x1.0p-32);
    values[i] = static_cast<float>(scale * normal + shift);
  }
  return values;
}

inline std::vector<std::int32_t> random_labels(int count, int classes, std::uint32_t purpose) {
  std::vector<std::int32_t> labels(static_cast<std::size_t>(count));
  const RandomStream stream{.seed = 20240918, .purpose = purpose};
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto bits = random_bits(stream, static_cast<std::uint32_t>(i)).x;
    labels[i] = static_cast<std::int32_t>(random_below(bits, static_cast<std::uint32_t>(classes)));
  }
  return labels;
}

template <class T = double>
std::vector<T> widened(const std::vector<float>& values) {
  return std::vector<T>(values.begin(), values.end());
}

/// Where the backend keeps the i-th element of a plain (N, H, W, C) array.
template <class Exec>
std::size_t place(const Exec& exec, const ImageShape& s, std::size_t i) {
  const auto block = static_cast<std::size_t>(kernels::channel_block(exec, s.c)), channels = std::size_t(s.c);
  const std::size_t plane = std::size_t(s.h) * s.w, c = i % channels, pixel = i / channels % plane;
  const std::size_t n = i / channels / plane;
  return ((n * (channels / block) + c / block) * plane + pixel) * block + c % block;
}

template <class Exec>
std::vector<float> to_backend(const Exec& exec, const ImageShape& s, const std::vector<float>& plain) {
  std::vector<float> blocked(plain.size());
  for (std::size_t i = 0; i < plain.size(); ++i) blocked[place(exec, s, i)] = plain[i];
  return blocked;
}

template <class Exec>
std::vector<float> from_backend(const Exec& exec, const ImageShape& s, const std::vector<float>& blocked) {
  std::vector<float> plain(blocked.size());
  for (std::size_t i = 0; i < plain.size(); ++i) plain[i] = blocked[place(exec, s, i)];
  return plain;
}

/// ‖actual − expected‖ / ‖expected‖; NaN, which passes no comparison, if any element is NaN.
template <class Actual>
double relative_error(const std::vector<Actual>& actual, const std::vector<double>& expected) {
  REQUIRE(actual.size() == expected.size());
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return norm == 0 ? std::sqrt(difference) : std::sqrt(difference / norm);
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

/// Outputs before an accumulating kernel: random where it adds, poison where it assigns.
inline std::vector<float> before(Accumulate accumulate, std::size_t count, std::uint32_t purpose) {
  return accumulate == Accumulate::add ? random_floats(count, purpose) : poisoned(count);
}

/// What an accumulating kernel should leave.
inline std::vector<double> after(Accumulate accumulate, const std::vector<double>& gradient,
                                 const std::vector<float>& before) {
  std::vector<double> sum = gradient;
  if (accumulate == Accumulate::add) {
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += before[i];
  }
  return sum;
}

/// The gradient by the complex step of loss(x), which returns a complex number.
template <class Loss>
std::vector<double> complex_step(const std::vector<double>& x, Loss&& loss) {
  constexpr double h = 1e-20;
  std::vector<std::complex<double>> z(x.begin(), x.end());
  std::vector<double> gradient(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    z[i] = {x[i], h};
    gradient[i] = loss(z).imag() / h;
    z[i] = x[i];
  }
  return gradient;
}

using Complex = std::complex<double>;

inline std::vector<Complex> complexed(const std::vector<double>& x) { return {x.begin(), x.end()}; }

/// Σ cotangent·y.
inline Complex dot(const std::vector<double>& cotangent, const std::vector<Complex>& y) {
  Complex sum = 0;
  for (std::size_t i = 0; i < y.size(); ++i) sum += cotangent[i] * y[i];
  return sum;
}

}  // namespace nepenthe::tests
