// A thread works on a group of rows of tiles, whose transformed inputs and products stay in its second-level cache.
#include "kernels/cpu/winograd.h"

#include <algorithm>
#include <type_traits>

#include "kernels/cpu/chunks.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/layout.h"
#include "kernels/cpu/normalised.h"
#include "kernels/cpu/product.h"

namespace nepenthe::kernels {
namespace {

constexpr int tile = 4, reach = 6, points = reach * reach, taps = 9;

// The transforms, each of one column or row.

constexpr float p = 0.625f, q = 1.5f;  // the points ±p and ±q
constexpr float p2 = p * p, q2 = q * q;
constexpr float at_0 = 1 / (p2 * q2), at_p = 1 / (2 * p2 * (p2 - q2)), at_q = 1 / (2 * q2 * (q2 - p2));

/// Bᵀd.
template <class V>
NEPENTHE_INLINE void input_points(const V (&d)[6], V (&t)[6]) {
  const V even_p = multiply_add(-q2, d[2], d[4]), odd_p = multiply_add(-q2, d[1], d[3]);
  const V even_q = multiply_add(-p2, d[2], d[4]), odd_q = multiply_add(-p2, d[1], d[3]);
  t[0] = multiply_add(p2 * q2, d[0], multiply_add(-(p2 + q2), d[2], d[4]));
  t[1] = multiply_add(p, odd_p, even_p);
  t[2] = multiply_add(-p, odd_p, even_p);
  t[3] = multiply_add(q, odd_q, even_q);
  t[4] = multiply_add(-q, odd_q, even_q);
  t[5] = multiply_add(p2 * q2, d[1], multiply_add(-(p2 + q2), d[3], d[5]));
}

/// Aᵀm.
template <class V>
NEPENTHE_INLINE void outputs(const V (&m)[6], V (&y)[4]) {
  const V sum_p = m[1] + m[2], difference_p = m[1] - m[2], sum_q = m[3] + m[4], difference_q = m[3] - m[4];
  y[0] = m[0] + (sum_p + sum_q);
  y[1] = multiply_add(p, difference_p, q * difference_q);
  y[2] = multiply_add(p2, sum_p, q2 * sum_q);
  y[3] = multiply_add(p2 * p, difference_p, multiply_add(q2 * q, difference_q, m[5]));
}

/// A·dy.
template <class V>
NEPENTHE_INLINE void gradient_points(const V (&d)[4], V (&t)[6]) {
  const V even_p = multiply_add(p2, d[2], d[0]), odd_p = multiply_add(p2, d[3], d[1]);
  const V even_q = multiply_add(q2, d[2], d[0]), odd_q = multiply_add(q2, d[3], d[1]);
  t[0] = d[0];
  t[1] = multiply_add(p, odd_p, even_p);
  t[2] = multiply_add(-p, odd_p, even_p);
  t[3] = multiply_add(q, odd_q, even_q);
  t[4] = multiply_add(-q, odd_q, even_q);
  t[5] = d[3];
}

/// G·g.
template <class V>
NEPENTHE_INLINE void filter_points(const V (&g)[3], V (&t)[6]) {
  const V even_p = at_p * g[0] + at_p * p2 * g[2], even_q = at_q * g[0] + at_q * q2 * g[2];
  t[0] = at_0 * g[0];
  t[1] = even_p + at_p * p * g[1];
  t[2] = even_p - at_p * p * g[1];
  t[3] = even_q + at_q * q * g[1];
  t[4] = even_q - at_q * q * g[1];
  t[5] = g[2];
}

/// Gᵀs.
template <class V>
NEPENTHE_INLINE void filter_gradient(const V (&s)[6], V (&g)[3]) {
  const V sum_p = at_p * (s[1] + s[2]), sum_q = at_q * (s[3] + s[4]);
  g[0] = at_0 * s[0] + (sum_p + sum_q);
  g[1] = at_p * p * (s[1] - s[2]) + at_q * q * (s[3] - s[4]);
  g[2] = (p2 * sum_p + q2 * sum_q) + s[5];
}

// What is convolved.

/// Channel blocks of pictures, one vector a pixel.
struct Planes {
  int h, w, channels;
  /// Of row `row`, channel block `block` of picture n.
  template <int W>
  NEPENTHE_INLINE std::size_t row_at(int n, int block, int row) const {
    return ((std::size_t(n) * (channels / W) + block) * h + row) * std::size_t(w) * W;
  }
};

/// InputNorm with the scale in place of what it is made of; all null where there is none.
struct Norm {
  const float *mean = nullptr, *scale = nullptr, *beta = nullptr;
};

/// What becomes of a vector of pixels of one channel block on its way in.
template <int W>
struct AsItIs {
  NEPENTHE_INLINE AsItIs(const Norm&, int) {}
  NEPENTHE_INLINE typename Lanes<W>::type operator()(const typename Lanes<W>::type& x) const { return x; }
};
template <int W>
struct Normalised {
  typename Lanes<W>::type mean, scale, beta;
  NEPENTHE_INLINE Normalised(const Norm& norm, int block)
      : mean(load<W>(norm.mean + block * W)),
        scale(load<W>(norm.scale + block * W)),
        beta(load<W>(norm.beta + block * W)) {}
  NEPENTHE_INLINE typename Lanes<W>::type operator()(const typename Lanes<W>::type& x) const {
    return rectified(normalised(x, mean, scale, beta));
  }
};

/// y (n, out) = x (n, in) * filters, or its gradients.
struct Winograd {
  Planes in, out;
  int padding;  // of `in`
  int tiles_y, tiles_x;
  int rows_in_group;  // of tiles; those of the whole batch are counted through
  Chunks groups;      // of rows of tiles
  Norm norm;          // of `in`

  Winograd(const ImageShape& input, const ImageShape& output, int padding_of_input)
      : in{.h = input.h, .w = input.w, .channels = input.c},
        out{.h = output.h, .w = output.w, .channels = output.c},
        padding(padding_of_input),
        tiles_y((output.h + tile - 1) / tile),
        tiles_x((output.w + tile - 1) / tile),
        // A group's matrices near the second-level cache's size.
        rows_in_group(std::max(1, (input.c >= 64 ? 32 : 64) / tiles_x)),
        groups{std::size_t(input.n) * std::size_t(tiles_y), std::size_t(rows_in_group)} {}

  /// The group behind this one.
  Range after(Range rows) const { return {rows.end, std::min(rows.end + std::size_t(rows_in_group), groups.count)}; }
  int most_tiles() const { return std::min(rows_in_group, static_cast<int>(groups.count)) * tiles_x; }
  // Floats between one point's matrix and the next's; the odd line keeps 36 stores out of one set of the cache.
  std::size_t in_stride() const { return std::size_t(most_tiles()) * in.channels + 16; }
  std::size_t out_stride() const { return std::size_t(most_tiles()) * out.channels + 16; }
  std::size_t filter_stride() const { return std::size_t(in.channels) * out.channels + 16; }
  std::size_t filter_floats() const { return points * filter_stride(); }
  std::size_t strip_columns() const { return std::size_t(tiles_x) * tile + reach - tile; }
};

/// A group's scratch memory.
struct Scratch {
  float *strip, *input, *output;

  static std::size_t floats(const Winograd& op, int lanes) {
    return reach * op.strip_columns() * std::size_t(lanes) + points * (op.in_stride() + op.out_stride());
  }
  Scratch(const Winograd& op, int lanes, float* memory)
      : strip(memory),
        input(strip + reach * op.strip_columns() * std::size_t(lanes)),
        output(input + points * op.in_stride()) {}
};

/// One row of tiles of one channel block, whose inputs begin at row `first_row` and column −padding; what lies outside
/// the picture is 0. The columns first: each pixel's rows, into the strip; then each tile's.
template <int W, int Rows, void (*Transform)(const typename Lanes<W>::type (&)[Rows], typename Lanes<W>::type (&)[6]),
          class Read, class T>
NEPENTHE_INLINE void transform_row(const Read& read, const Planes& planes, const T* pixels, int n, int block,
                                   int first_row, int padding, int tiles_x, const Scratch& scratch, float* to,
                                   std::size_t stride, std::size_t step) {
  typedef typename Lanes<W>::type Vector;
  const std::size_t columns = std::size_t(tiles_x) * tile + (Rows - tile);
  const T* rows[Rows];  // null: outside
  bool all_inside = true;
  for (int i = 0; i < Rows; ++i) {
    const int row = first_row + i;
    rows[i] = row >= 0 && row < planes.h ? pixels + planes.row_at<W>(n, block, row) : nullptr;
    all_inside &= rows[i] != nullptr;
  }
  const auto strip = [&](int i, std::size_t column) { return scratch.strip + (std::size_t(i) * columns + column) * W; };
  const auto begin = static_cast<std::size_t>(padding), end = std::min(columns, begin + std::size_t(planes.w));
  for (int i = 0; i < reach; ++i) {
    std::fill(strip(i, 0), strip(i, begin), 0.0f);
    std::fill(strip(i, end), strip(i, columns), 0.0f);
  }
  const auto transform_columns = [&](auto inside) __attribute__((always_inline)) {
    for (std::size_t column = begin; column < end; ++column) {
      Vector d[Rows], t[6];
#pragma GCC unroll 6
      for (int i = 0; i < Rows; ++i) {
        d[i] = inside || rows[i] != nullptr ? read(load<W>(rows[i] + (column - begin) * W)) : Vector{};
      }
      Transform(d, t);
#pragma GCC unroll 6
      for (int i = 0; i < reach; ++i) store<W>(strip(i, column), t[i]);
    }
  };
  if (all_inside) {
    transform_columns(std::true_type());
  } else {
    transform_columns(std::false_type());
  }
  for (int x = 0; x < tiles_x; ++x, to += step) {
    for (int i = 0; i < reach; ++i) {
      Vector d[Rows], t[6];
      for (int j = 0; j < Rows; ++j) d[j] = load<W>(strip(i, std::size_t(x) * tile + std::size_t(j)));
      Transform(d, t);
      for (int j = 0; j < reach; ++j) store<W>(to + std::size_t(i * reach + j) * stride, t[j]);
    }
  }
}

/// scratch.input (36, tiles of the group, in channels) of a group's inputs.
template <int W, class Read, class T>
NEPENTHE_INLINE void transform_inputs(const Winograd& op, const T* x, Range rows, const Scratch& scratch) {
  for (std::size_t row = rows.begin; row < rows.end; ++row) {
    const int n = static_cast<int>(row) / op.tiles_y, y = static_cast<int>(row) % op.tiles_y;
    float* to = scratch.input + (row - rows.begin) * std::size_t(op.tiles_x) * op.in.channels;
    for (int block = 0; block < op.in.channels / W; ++block) {
      transform_row<W, 6, input_points<typename Lanes<W>::type>>(
          Read(op.norm, block), op.in, x, n, block, y * tile - op.padding, op.padding, op.tiles_x, scratch,
          to + block * W, op.in_stride(), std::size_t(op.in.channels));
    }
  }
}

/// scratch.output likewise of the gradients of a group's outputs.
template <int W, class T>
NEPENTHE_INLINE void transform_gradients(const Winograd& op, const T* dy, Range rows, const Scratch& scratch) {
  for (std::size_t row = rows.begin; row < rows.end; ++row) {
    const int n = static_cast<int>(row) / op.tiles_y, y = static_cast<int>(row) % op.tiles_y;
    float* to = scratch.output + (row - rows.begin) * std::size_t(op.tiles_x) * op.out.channels;
    for (int block = 0; block < op.out.channels / W; ++block) {
      transform_row<W, 4, gradient_points<typename Lanes<W>::type>>(AsItIs<W>({}, block), op.out, dy, n, block,
                                                                    y * tile, 0, op.tiles_x, scratch, to + block * W,
                                                                    op.out_stride(), std::size_t(op.out.channels));
    }
  }
}

/// The outputs of the group's tiles out of scratch.output (36, tiles, out channels).
template <int W, template <int, class> class Write, class T>
NEPENTHE_INLINE void transform_outputs(const Winograd& op, const Finish<T>& finish, T* y, Range rows,
                                       const Scratch& scratch) {
  typedef typename Lanes<W>::type Vector;
  const std::size_t stride = op.out_stride(), line = reach * stride;
  for (std::size_t row = rows.begin; row < rows.end; ++row) {
    const int n = static_cast<int>(row) / op.tiles_y, first = static_cast<int>(row) % op.tiles_y * tile;
    const int height = std::min(tile, op.out.h - first);
    for (int block = 0; block < op.out.channels / W; ++block) {
      const float* from =
          scratch.output + (row - rows.begin) * std::size_t(op.tiles_x) * op.out.channels + std::size_t(block) * W;
      const Write<W, T> put(finish, y, block);
      const std::size_t plane = op.out.row_at<W>(n, block, first);
      for (int x = 0; x < op.tiles_x; ++x, from += op.out.channels) {
        Vector columns[tile][reach];
        const float* column = from;
#pragma GCC unroll 6
        for (int j = 0; j < reach; ++j, column += stride) {
          Vector m[reach], t[tile];
#pragma GCC unroll 6
          for (int i = 0; i < reach; ++i) m[i] = load<W>(column + std::size_t(i) * line);
          outputs(m, t);
#pragma GCC unroll 4
          for (int i = 0; i < tile; ++i) columns[i][j] = t[i];
        }
        const std::size_t to = plane + std::size_t(x) * tile * W;
        const int width = std::min(tile, op.out.w - x * tile);
        const auto write = [&](auto whole) __attribute__((always_inline)) {
#pragma GCC unroll 4
          for (int i = 0; i < tile; ++i) {
            if (!whole && i >= height) break;
            Vector t[tile];
            outputs(columns[i], t);
#pragma GCC unroll 4
            for (int j = 0; j < tile; ++j) {
              if (!whole && j >= width) break;
              put(to + (std::size_t(i) * op.out.w + std::size_t(j)) * W, t[j]);
            }
          }
        };
        if (height == tile && width == tile) {
          write(std::true_type());
        } else {
          write(std::false_type());
        }
      }
    }
  }
}

/// Asks the second-level cache for the point's share of the pixels under rows of tiles: while it multiplies, the memory
/// has time. A third of the time of 16 channels went into waiting.
template <int W, bool ForWriting, class T>
NEPENTHE_INLINE void fetch(const Planes& planes, int tiles_y, const T* pixels, Range rows, int point) {
  constexpr std::size_t line = 64 / sizeof(T);
  const std::size_t blocks = std::size_t(planes.channels) / W, piece = std::size_t(tile) * planes.w * W;
  const std::size_t total = (rows.end - rows.begin) * blocks * piece;
  std::size_t at = total * std::size_t(point) / points / line * line;
  const std::size_t end = total * std::size_t(point + 1) / points / line * line;
  while (at < end) {
    const std::size_t row = rows.begin + at / piece / blocks, block = at / piece % blocks;
    const T* begin = pixels + planes.row_at<W>(static_cast<int>(row) / tiles_y, static_cast<int>(block),
                                               static_cast<int>(row) % tiles_y * tile);
    const std::size_t piece_end = std::min(end, (at / piece + 1) * piece);
    for (std::size_t i = at % piece; at < piece_end; at += line, i += line) {
      __builtin_prefetch(begin + i, ForWriting ? 1 : 0, 2);
    }
  }
}

template <int W, template <int> class Read, template <int, class> class Write, class T>
NEPENTHE_INLINE void convolve_group(const Winograd* operation, const Finish<T>* finish, Range rows, T* y, const T* x,
                                    const float* filters, float* memory) {
  const Winograd& op = *operation;
  const Scratch scratch(op, W, memory);
  transform_inputs<W, Read<W>>(op, x, rows, scratch);
  const Range next = op.after(rows);
  for (int point = 0; point < points; ++point) {
    fetch<W, false>(op.in, op.tiles_y, x, next, point);
    fetch<W, true>(op.out, op.tiles_y, y, rows, point);
    if (finish->residual != nullptr) fetch<W, false>(op.out, op.tiles_y, finish->residual, rows, point);
    multiply<W>(Product<Strided>{.rows = rows.size() * op.tiles_x,
                                 .depth = op.in.channels,
                                 .vectors = op.out.channels / W,
                                 .c = scratch.output + point * op.out_stride(),
                                 .c_row = std::size_t(op.out.channels),
                                 .c_vector = W,
                                 .a = scratch.input + point * op.in_stride(),
                                 .a_rows = {std::size_t(op.in.channels)},
                                 .a_columns = {1},
                                 .b = filters + point * op.filter_stride(),
                                 .b_step = W,
                                 .b_vector = std::size_t(op.in.channels) * W});
  }
  transform_outputs<W, Write>(op, *finish, y, rows, scratch);
}

// Filters.

/// Of output block `block`: point by point, in channel by in channel, a vector of out channels. Element (o, tap, i) of
/// the filters is at o·out_step + tap·tap_step + i·in_step, from `w`.
template <class T>
struct FilterView {
  const T* w;
  std::ptrdiff_t out_step, tap_step, in_step;
};

template <int W, class T>
NEPENTHE_INLINE void transform_filters(const Winograd* operation, const FilterView<T>* view, int block,
                                       float* filters) {
  typedef typename Lanes<W>::type Vector;
  const Winograd& op = *operation;
  const T* first = view->w + block * W * view->out_step;
  for (int i = 0; i < op.in.channels; ++i) {
    Vector columns[3][6];
    for (int s = 0; s < 3; ++s) {
      Vector g[3], t[6];
      for (int r = 0; r < 3; ++r) {
        const T* from = first + (r * 3 + s) * view->tap_step + i * view->in_step;
        float lanes[W];
        for (int lane = 0; lane < W; ++lane) lanes[lane] = to_float(from[lane * view->out_step]);
        g[r] = load<W>(lanes);
      }
      filter_points(g, t);
      for (int k = 0; k < reach; ++k) columns[s][k] = t[k];
    }
    float* to = filters + (std::size_t(block) * op.in.channels + i) * W;
    for (int k = 0; k < reach; ++k) {
      const Vector g[3] = {columns[0][k], columns[1][k], columns[2][k]};
      Vector t[6];
      filter_points(g, t);
      for (int j = 0; j < reach; ++j) store<W>(to + std::size_t(k * reach + j) * op.filter_stride(), t[j]);
    }
  }
}

/// `of`, where it is anything, in the memory at `scale` (channels).
Norm scaled(const InputNorm& of, int channels, float* scale) {
  if (of.mean == nullptr) return {};
  scales(channels, scale, of.gamma, of.rstd);
  return {.mean = of.mean, .scale = scale, .beta = of.beta};
}

/// y = x * filters as `view` has them, or added to it.
template <class T>
void convolve(CpuExec& exec, Winograd op, T* y, bool adds, const T* x, const InputNorm& norm,
              const OutputNorm<T>& output_norm, const FilterView<T>& view) {
  const int lanes = exec.lanes();
  const std::size_t own = (Scratch::floats(op, lanes) + 15) / 16 * 16 * std::size_t(exec.threads());
  float* filters =
      exec.workspace(op.filter_floats() + own + std::size_t(op.in.channels) + std::size_t(op.out.channels));
  float* memory = filters + op.filter_floats();
  op.norm = scaled(norm, op.in.channels, memory + own);
  const Finish<T> finish = scaled(output_norm, op.out.channels, memory + own + op.in.channels);
  exec.parallel(op.out.channels / lanes, [&](int block, int) {
    on_isa<transform_filters<16, T>, transform_filters<8, T>, transform_filters<4, T>>(exec.isa(), &op, &view, block,
                                                                                       filters);
  });
  exec.parallel(op.groups.parts(), [&](int group, int thread) {
    float* scratch = memory + own / std::size_t(exec.threads()) * std::size_t(thread);
    const auto run = [&]<template <int> class Read, template <int, class> class Write>() {
      on_isa<convolve_group<16, Read, Write, T>, convolve_group<8, Read, Write, T>, convolve_group<4, Read, Write, T>>(
          exec.isa(), &op, &finish, op.groups[group], y, x, static_cast<const float*>(filters), scratch);
    };
    if (adds) return run.template operator()<AsItIs, Added>();
    if (op.norm.scale != nullptr) return run.template operator()<Normalised, Assigned>();
    if (finish.scale != nullptr) return run.template operator()<AsItIs, Finished>();
    run.template operator()<AsItIs, Assigned>();
  });
}

// Gradients of filters.

/// sums (36, in channels, out channels) [+]= those of a group.
template <int W, template <int> class Read, class T>
NEPENTHE_INLINE void sum_group(const Winograd* operation, Range rows, bool first, float* sums, const T* dy, const T* x,
                               float* memory) {
  const Winograd& op = *operation;
  const Scratch scratch(op, W, memory);
  transform_inputs<W, Read<W>>(op, x, rows, scratch);
  transform_gradients<W>(op, dy, rows, scratch);
  const Range next = op.after(rows);
  for (int point = 0; point < points; ++point) {
    fetch<W, false>(op.in, op.tiles_y, x, next, point);
    fetch<W, false>(op.out, op.tiles_y, dy, next, point);
    multiply<W>(Product<Strided>{.rows = op.in.channels,
                                 .depth = rows.size() * op.tiles_x,
                                 .vectors = op.out.channels / W,
                                 .c = sums + point * op.filter_stride(),
                                 .c_row = std::size_t(op.out.channels),
                                 .c_vector = W,
                                 .a = scratch.input + point * op.in_stride(),
                                 .a_rows = {1},
                                 .a_columns = {std::size_t(op.in.channels)},
                                 .b = scratch.output + point * op.out_stride(),
                                 .b_step = std::size_t(op.out.channels),
                                 .b_vector = W,
                                 .adds = !first});
  }
}

/// to (9, in channels, out channels) of a chunk's sums.
template <int W>
NEPENTHE_INLINE void transform_sums(const Winograd* operation, const float* sums, float* to) {
  typedef typename Lanes<W>::type Vector;
  const Winograd& op = *operation;
  const std::size_t filters = std::size_t(op.in.channels) * op.out.channels;
  for (std::size_t at = 0; at < filters; at += W) {
    Vector columns[3][6];
    for (int j = 0; j < reach; ++j) {
      Vector s[6], g[3];
      for (int i = 0; i < reach; ++i) s[i] = load<W>(sums + std::size_t(i * reach + j) * op.filter_stride() + at);
      filter_gradient(s, g);
      for (int r = 0; r < 3; ++r) columns[r][j] = g[r];
    }
    for (int r = 0; r < 3; ++r) {
      Vector g[3];
      filter_gradient(columns[r], g);
      for (int s = 0; s < 3; ++s) store<W>(to + std::size_t(r * 3 + s) * filters + at, g[s]);
    }
  }
}

/// dw (K, 3, 3, C) of out block `block` [+]= the chunks' gradients, added in order.
template <int W>
NEPENTHE_INLINE void deliver(const Winograd* operation, int block, int chunks, bool adds, float* dw,
                             const float* partial) {
  const Winograd& op = *operation;
  const std::size_t in = std::size_t(op.in.channels), filters = in * op.out.channels;
  for (int tap = 0; tap < taps; ++tap) {
    for (std::size_t i = 0; i < in; ++i) {
      const float* from = partial + std::size_t(tap) * filters + i * op.out.channels + std::size_t(block) * W;
      auto sum = load<W>(from);
      for (int chunk = 1; chunk < chunks; ++chunk) sum += load<W>(from + std::size_t(chunk) * taps * filters);
      for (int lane = 0; lane < W; ++lane) {
        float& to = dw[((std::size_t(block) * W + lane) * taps + tap) * in + i];
        to = adds ? to + sum[lane] : sum[lane];
      }
    }
  }
}

}  // namespace

bool suits_winograd(const CpuExec& exec, const Conv2dShape& s) {
  return s.kernel == 3 && s.stride == 1 && s.padding <= 2 && s.c % exec.lanes() == 0 && s.out_c % exec.lanes() == 0;
}

template <class T>
void winograd_forward(CpuExec& exec, const Conv2dForward<T>& o) {
  const Conv2dShape& s = o.shape;
  const std::ptrdiff_t c = s.c;
  convolve(exec, Winograd(s.input(), s.output(), s.padding), o.y, false, o.x, o.norm, o.output_norm,
           FilterView<T>{o.w, taps * c, c, 1});
}

template <class T>
void winograd_backward_data(CpuExec& exec, const Conv2dBackwardData<T>& o) {
  const Conv2dShape& s = o.shape;
  // A convolution with the filters turned by 180 degrees, in and out channels exchanged.
  const std::ptrdiff_t c = s.c;
  convolve(exec, Winograd(s.output(), s.input(), 2 - s.padding), o.dx, o.accumulate == Accumulate::add, o.dy, {}, {},
           FilterView<T>{o.w + (taps - 1) * c, 1, -c, taps * c});
}

template <class T>
void winograd_backward_weights(CpuExec& exec, const Conv2dBackwardWeights<T>& o) {
  const Conv2dShape& s = o.shape;
  Winograd op(s.input(), s.output(), s.padding);
  const int lanes = exec.lanes();
  const Chunks chunks = chunks_at_most(most_partial_sums, op.groups.parts());
  const std::size_t scratch = (Scratch::floats(op, lanes) + 15) / 16 * 16;
  const std::size_t own = op.filter_floats() + scratch, partial_floats = taps * std::size_t(s.c) * s.out_c;
  float* partial = exec.workspace(partial_floats * std::size_t(chunks.parts()) + own * std::size_t(exec.threads()) +
                                  std::size_t(s.c));
  float* memory = partial + partial_floats * std::size_t(chunks.parts());
  op.norm = scaled(o.norm, s.c, memory + own * std::size_t(exec.threads()));
  exec.parallel(chunks.parts(), [&](int chunk, int thread) {
    float* sums = memory + own * std::size_t(thread);
    const Range groups = chunks[chunk];
    for (std::size_t group = groups.begin; group < groups.end; ++group) {
      const auto run = [&]<template <int> class Read>() {
        on_isa<sum_group<16, Read, T>, sum_group<8, Read, T>, sum_group<4, Read, T>>(
            exec.isa(), &op, op.groups[static_cast<int>(group)], group == groups.begin, sums, o.dy, o.x,
            sums + op.filter_floats());
      };
      if (op.norm.scale != nullptr) {
        run.template operator()<Normalised>();
      } else {
        run.template operator()<AsItIs>();
      }
    }
    on_isa<transform_sums<16>, transform_sums<8>, transform_sums<4>>(exec.isa(), &op, static_cast<const float*>(sums),
                                                                     partial + partial_floats * std::size_t(chunk));
  });
  exec.parallel(s.out_c / lanes, [&](int block, int) {
    on_isa<deliver<16>, deliver<8>, deliver<4>>(exec.isa(), &op, block, chunks.parts(), o.accumulate == Accumulate::add,
                                                o.dw, static_cast<const float*>(partial));
  });
}

template void winograd_forward(CpuExec&, const Conv2dForward<float>&);
template void winograd_forward(CpuExec&, const Conv2dForward<bf16>&);
template void winograd_backward_data(CpuExec&, const Conv2dBackwardData<float>&);
template void winograd_backward_data(CpuExec&, const Conv2dBackwardData<bf16>&);
template void winograd_backward_weights(CpuExec&, const Conv2dBackwardWeights<float>&);
template void winograd_backward_weights(CpuExec&, const Conv2dBackwardWeights<bf16>&);

}  // namespace nepenthe::kernels
