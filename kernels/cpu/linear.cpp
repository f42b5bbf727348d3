#include "kernels/linear.h"

#include "kernels/cpu/chunks.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu_exec.h"

namespace nepenthe::kernels {
namespace {

constexpr std::size_t rows_in_part = 8;

/// y[0 .. I) [0 .. J) of rows of x against rows of w: both run along `in`, so each of the I·J sums is a vector.
template <int W, int I, int J>
NEPENTHE_INLINE void dot_tile(int in, int out, float* y, const float* x, const float* w, const float* b) {
  typename Lanes<W>::type sums[I][J] = {};
  float rest[I][J] = {};
  int k = 0;
  for (; k + W <= in; k += W) {
    for (int i = 0; i < I; ++i) {
      for (int j = 0; j < J; ++j)
        sums[i][j] = multiply_add(load<W>(x + i * in + k), load<W>(w + j * in + k), sums[i][j]);
    }
  }
  for (; k < in; ++k) {
    for (int i = 0; i < I; ++i) {
      for (int j = 0; j < J; ++j) rest[i][j] += x[i * in + k] * w[j * in + k];
    }
  }
  for (int i = 0; i < I; ++i) {
    for (int j = 0; j < J; ++j) y[i * out + j] = sum_of_lanes<W>(sums[i][j]) + rest[i][j] + b[j];
  }
}

template <int W, int I>
NEPENTHE_INLINE void dot_rows(int in, int out, float* y, const float* x, const float* w, const float* b) {
  int j = 0;
  for (; j + 4 <= out; j += 4) dot_tile<W, I, 4>(in, out, y + j, x, w + std::size_t(j) * in, b + j);
  for (; j < out; ++j) dot_tile<W, I, 1>(in, out, y + j, x, w + std::size_t(j) * in, b + j);
}

template <int W>
NEPENTHE_INLINE void forward_rows(const LinearShape* shape, Range rows, float* y, const float* x, const float* w,
                                  const float* b) {
  const std::size_t in = shape->in, out = shape->out;
  std::size_t r = rows.begin;
  for (; r + 4 <= rows.end; r += 4) dot_rows<W, 4>(shape->in, shape->out, y + r * out, x + r * in, w, b);
  for (; r < rows.end; ++r) dot_rows<W, 1>(shape->in, shape->out, y + r * out, x + r * in, w, b);
}

/// c (rows, columns) [+]= a (rows, depth) · b (depth, columns), where a's element (i, k) stands at i·a_row + k·a_step:
/// so a may be read as its transpose. Sums run over k in order.
struct Product {
  std::size_t columns, depth;
  float* c;
  const float* a;
  std::size_t a_row, a_step;
  const float* b;
  Accumulate accumulate;
};

template <int W, int I>
NEPENTHE_INLINE void product_tile(const Product& p, std::size_t i, std::size_t j) {
  typename Lanes<W>::type sums[I] = {};
  const float* a = p.a + i * p.a_row;
  const float* b = p.b + j;
  for (std::size_t k = 0; k < p.depth; ++k, a += p.a_step, b += p.columns) {
    for (int tile = 0; tile < I; ++tile) sums[tile] = multiply_add(a[tile * p.a_row], load<W>(b), sums[tile]);
  }
  for (int tile = 0; tile < I; ++tile) {
    float* c = p.c + (i + tile) * p.columns + j;
    store<W>(c, p.accumulate == Accumulate::add ? load<W>(c) + sums[tile] : sums[tile]);
  }
}

template <int W, int I>
NEPENTHE_INLINE void product_row_group(const Product& p, std::size_t i) {
  std::size_t j = 0;
  for (; j + W <= p.columns; j += W) product_tile<W, I>(p, i, j);
  for (; j < p.columns; ++j) product_tile<1, I>(p, i, j);
}

template <int W>
NEPENTHE_INLINE void product_rows(const Product* product, Range rows) {
  std::size_t i = rows.begin;
  for (; i + 8 <= rows.end; i += 8) product_row_group<W, 8>(*product, i);
  for (; i < rows.end; ++i) product_row_group<W, 1>(*product, i);
}

void multiply(CpuExec& exec, std::size_t rows, const Product& product) {
  const Chunks parts{rows, rows_in_part};
  exec.parallel(parts.parts(), [&](int part, int) {
    on_isa<product_rows<16>, product_rows<8>, product_rows<4>>(exec.isa(), &product, parts[part]);
  });
}

}  // namespace

void linear_forward(CpuExec& exec, const LinearForward& o) {
  check("linear", o.shape);
  const Chunks parts{static_cast<std::size_t>(o.shape.rows), rows_in_part};
  exec.parallel(parts.parts(), [&](int part, int) {
    on_isa<forward_rows<16>, forward_rows<8>, forward_rows<4>>(exec.isa(), &o.shape, parts[part], o.y, o.x, o.w, o.b);
  });
}

void linear_backward_data(CpuExec& exec, const LinearBackwardData& o) {
  check("linear", o.shape);
  const auto in = static_cast<std::size_t>(o.shape.in), out = static_cast<std::size_t>(o.shape.out);
  multiply(exec, static_cast<std::size_t>(o.shape.rows),
           {.columns = in,
            .depth = out,
            .c = o.dx,
            .a = o.dy,
            .a_row = out,
            .a_step = 1,
            .b = o.w,
            .accumulate = o.accumulate});
}

void linear_backward_weights(CpuExec& exec, const LinearBackwardWeights& o) {
  check("linear", o.shape);
  const auto rows = static_cast<std::size_t>(o.shape.rows);
  const auto in = static_cast<std::size_t>(o.shape.in), out = static_cast<std::size_t>(o.shape.out);
  // A thread owns filters, not rows, so that no partial sums are needed.
  multiply(exec, out,
           {.columns = in,
            .depth = rows,
            .c = o.dw,
            .a = o.dy,
            .a_row = 1,
            .a_step = out,
            .b = o.x,
            .accumulate = o.accumulate});
  for (std::size_t column = 0; column < out; ++column) {
    double sum = 0;
    for (std::size_t r = 0; r < rows; ++r) sum += o.dy[r * out + column];
    o.db[column] = static_cast<float>(o.accumulate == Accumulate::add ? o.db[column] + sum : sum);
  }
}

}  // namespace nepenthe::kernels
