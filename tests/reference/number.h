// What the scalar references share. They are templated on the number type: double for expected values, and
// std::complex<double> for derivatives by the complex step (Squire & Trapp 1998), exact to rounding:
// df/dx = Im f(x + ih) / h with h = 1e-20. Comparisons look at the real part, as the step demands.
#pragma once

#include <complex>
#include <cstddef>
#include <vector>

namespace nepenthe::reference {

inline double real_part(double x) { return x; }
inline double real_part(const std::complex<double>& x) { return x.real(); }

/// Activations are plain (N, H, W, C) arrays: the place of (n, h, w, c).
inline std::size_t at(int h_count, int w_count, int c_count, int n, int h, int w, int c) {
  return ((std::size_t(n) * h_count + h) * w_count + w) * c_count + c;
}

}  // namespace nepenthe::reference
