// Products of small matrices in registers, which all of the CPU's convolutions consist of.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace nepenthe::kernels {

/// Where the rows or columns of a matrix begin: every `step` floats, or at given places.
struct Strided {
  std::size_t step;
  NEPENTHE_INLINE std::size_t operator[](int i) const { return std::size_t(i) * step; }
};
using Places = const std::uint32_t*;

/// c (rows, vectors·W) [+]= a (rows, depth) · b (depth, vectors·W). Element (r, d) of a is at a_rows[r] + a_columns[d],
/// so that it may be read as its transpose, or out of a picture; vector v of row d of b at d·b_step + v·b_vector, of
/// row r of c at r·c_row + v·c_vector. Each sum runs over d in order, and is then added to what is in c, if `adds`.
template <class A>
struct Product {
  int rows, depth, vectors;
  float* c;
  std::size_t c_row, c_vector;
  const float* a;
  A a_rows, a_columns;
  const float* b;
  std::size_t b_step, b_vector;
  bool adds = false;
};

/// Rows r … r + I − 1, vectors v … v + B − 1.
template <int W, int I, int B, class A>
NEPENTHE_INLINE void product_tile(const Product<A>& p, int r, int v) {
  typedef typename Lanes<W>::type Vector;
  Vector sums[I][B] = {};
  std::size_t rows[I];
#pragma GCC unroll 16
  for (int i = 0; i < I; ++i) rows[i] = p.a_rows[r + i];
  const float* b = p.b + std::size_t(v) * p.b_vector;
  const std::size_t b_step = p.b_step, b_vector = p.b_vector;
  const A columns = p.a_columns;
  for (int d = 0; d < p.depth; ++d, b += b_step) {
    const float* a = p.a + columns[d];
    Vector right[B];
#pragma GCC unroll 4
    for (int j = 0; j < B; ++j) right[j] = load<W>(b + std::size_t(j) * b_vector);
#pragma GCC unroll 16
    for (int i = 0; i < I; ++i) {
      const float left = a[rows[i]];
#pragma GCC unroll 4
      for (int j = 0; j < B; ++j) sums[i][j] = multiply_add(left, right[j], sums[i][j]);
    }
  }
  float* c = p.c + std::size_t(r) * p.c_row + std::size_t(v) * p.c_vector;
#pragma GCC unroll 16
  for (int i = 0; i < I; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < B; ++j) {
      float* to = c + std::size_t(i) * p.c_row + std::size_t(j) * p.c_vector;
      store<W>(to, p.adds ? load<W>(to) + sums[i][j] : sums[i][j]);
    }
  }
}

template <int W, int B, class A>
NEPENTHE_INLINE void product_vectors(const Product<A>& p, int v) {
  constexpr int tall = W == 16 ? 8 : 4;  // what the registers hold, with B = 2
  int r = 0;
  for (; r + tall <= p.rows; r += tall) product_tile<W, tall, B>(p, r, v);
  for (; r + tall / 2 <= p.rows; r += tall / 2) product_tile<W, tall / 2, B>(p, r, v);
  for (; r < p.rows; ++r) product_tile<W, 1, B>(p, r, v);
}

template <int W, class A>
NEPENTHE_INLINE void multiply(const Product<A>& p) {
  int v = 0;
  for (; v + 2 <= p.vectors; v += 2) product_vectors<W, 2>(p, v);
  if (v < p.vectors) product_vectors<W, 1>(p, v);
}

}  // namespace nepenthe::kernels
