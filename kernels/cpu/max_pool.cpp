#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/cpu/chunks.h"
#include "kernels/cpu/layout.h"
#include "kernels/pool.h"

namespace nepenthe::kernels {
namespace {

/// L places in windows: in registers as wide as L floats, in memory a byte each.
template <int L>
struct Taps {
  typedef std::int32_t type __attribute__((vector_size(L * sizeof(std::int32_t))));
};
template <>
struct Taps<1> {
  typedef std::int32_t type;
};

template <int L>
NEPENTHE_INLINE void store_taps(std::uint8_t* memory, const typename Taps<L>::type& taps) {
  if constexpr (L == 1) {
    *memory = static_cast<std::uint8_t>(taps);
  } else {
    for (int lane = 0; lane < L; ++lane) memory[lane] = static_cast<std::uint8_t>(taps[lane]);
  }
}

template <int L>
NEPENTHE_INLINE typename Taps<L>::type load_taps(const std::uint8_t* memory) {
  if constexpr (L == 1) {
    return *memory;
  } else {
    typename Taps<L>::type taps;
    for (int lane = 0; lane < L; ++lane) taps[lane] = memory[lane];
    return taps;
  }
}

/// [begin, end) of a window that begins at `first` within a side of `side` pixels.
struct Span {
  int begin, end;
  NEPENTHE_INLINE Span(int first, int kernel, int side)
      : begin(std::max(first, 0)), end(std::min(first + kernel, side)) {}
};

/// [begin, end) of the windows of a row or column of outputs that cover `pixel`.
struct Covering {
  int begin, end;
  NEPENTHE_INLINE Covering(int pixel, const PoolShape& s, int outputs)
      : begin(std::max(pixel + s.padding - s.kernel + s.stride, 0) / s.stride),
        end(std::min((pixel + s.padding) / s.stride + 1, outputs)) {}
};

/// The windows of one run: L channels a pixel.
template <int L, class T>
NEPENTHE_INLINE void largest_of_run(const PoolShape& s, T* y, std::uint8_t* taps, const T* x) {
  for (int i = 0; i < s.out_h(); ++i) {
    const int top = i * s.stride - s.padding;
    const Span rows(top, s.kernel, s.h);
    for (int j = 0; j < s.out_w(); ++j) {
      const int left = j * s.stride - s.padding;
      const Span columns(left, s.kernel, s.w);
      auto largest = broadcast<L>(-std::numeric_limits<float>::infinity());
      auto taken = typename Taps<L>::type{} + ((rows.begin - top) * s.kernel + columns.begin - left);
      for (int row = rows.begin; row < rows.end; ++row) {
        for (int column = columns.begin; column < columns.end; ++column) {
          const auto value = load<L>(x + (std::size_t(row) * s.w + column) * L);
          const auto tap = typename Taps<L>::type{} + ((row - top) * s.kernel + column - left);
          // NOLINTNEXTLINE(misc-redundant-expression): a number that is not one differs from itself
          const auto larger = (value > largest) | (value != value);
          largest = larger ? value : largest;
          taken = larger ? tap : taken;
        }
      }
      const std::size_t at = (std::size_t(i) * s.out_w() + j) * L;
      store<L>(y + at, largest);
      if (taps != nullptr) store_taps<L>(taps + at, taken);
    }
  }
}

template <int L, bool Add, class T>
NEPENTHE_INLINE void spread_run(const PoolShape& s, T* dx, const T* dy, const std::uint8_t* taps) {
  for (int row = 0; row < s.h; ++row) {
    const Covering is(row, s, s.out_h());
    for (int column = 0; column < s.w; ++column) {
      const Covering js(column, s, s.out_w());
      T* to = dx + (std::size_t(row) * s.w + column) * L;
      auto sum = Add ? load<L>(to) : broadcast<L>(0.0f);
      for (int i = is.begin; i < is.end; ++i) {
        for (int j = js.begin; j < js.end; ++j) {
          const std::size_t at = (std::size_t(i) * s.out_w() + j) * L;
          const int tap = (row + s.padding - i * s.stride) * s.kernel + column + s.padding - j * s.stride;
          const auto took = load_taps<L>(taps + at) == tap;
          sum += took ? load<L>(dy + at) : broadcast<L>(0.0f);
        }
      }
      store<L>(to, sum);
    }
  }
}

/// Calls run(input offset, output offset, width of a pixel) for each run of the images.
template <int W, class Run>
NEPENTHE_INLINE void each_run(const Layout* in, const Layout* out, Range images, Run&& run) {
  for (auto n = static_cast<int>(images.begin); n < static_cast<int>(images.end); ++n) {
    for (int k = 0; k < in->blocks; ++k) {
      if (in->block == 1) {
        run(Width<1>(), in->offset(n, k), out->offset(n, k));
      } else {
        run(Width<W>(), in->offset(n, k), out->offset(n, k));
      }
    }
  }
}

template <int W, class T>
NEPENTHE_INLINE void largest_of_runs(const MaxPoolForward<T>* o, const Layout* in, const Layout* out, Range images) {
  each_run<W>(
      in, out, images, [&](auto width, std::size_t from, std::size_t to) __attribute__((always_inline)) {
        largest_of_run<width>(o->shape, o->y + to, o->taps != nullptr ? o->taps + to : nullptr, o->x + from);
      });
}

template <int W, bool Add, class T>
NEPENTHE_INLINE void spread_runs(const MaxPoolBackward<T>* o, const Layout* in, const Layout* out, Range images) {
  each_run<W>(
      in, out, images, [&](auto width, std::size_t to, std::size_t from) __attribute__((always_inline)) {
        spread_run<width, Add>(o->shape, o->dx + to, o->dy + from, o->taps + from);
      });
}

}  // namespace

template <class T>
void max_pool_forward(CpuExec& exec, const MaxPoolForward<T>& o) {
  check("max_pool", o.shape);
  const Layout in = layout_of(exec, o.shape.input()), out = layout_of(exec, o.shape.output());
  const Chunks chunks = chunks_of_images(o.shape.n);
  exec.parallel(chunks.parts(), [&](int chunk, int) {
    on_isa<largest_of_runs<16, T>, largest_of_runs<8, T>, largest_of_runs<4, T>>(exec.isa(), &o, &in, &out,
                                                                                 chunks[chunk]);
  });
}

template <class T>
void max_pool_backward(CpuExec& exec, const MaxPoolBackward<T>& o) {
  check("max_pool", o.shape);
  const Layout in = layout_of(exec, o.shape.input()), out = layout_of(exec, o.shape.output());
  const Chunks chunks = chunks_of_images(o.shape.n);
  exec.parallel(chunks.parts(), [&](int chunk, int) {
    if (o.accumulate == Accumulate::add) {
      on_isa<spread_runs<16, true, T>, spread_runs<8, true, T>, spread_runs<4, true, T>>(exec.isa(), &o, &in, &out,
                                                                                         chunks[chunk]);
    } else {
      on_isa<spread_runs<16, false, T>, spread_runs<8, false, T>, spread_runs<4, false, T>>(exec.isa(), &o, &in, &out,
                                                                                            chunks[chunk]);
    }
  });
}

template void max_pool_forward(CpuExec&, const MaxPoolForward<float>&);
template void max_pool_forward(CpuExec&, const MaxPoolForward<bf16>&);
template void max_pool_backward(CpuExec&, const MaxPoolBackward<float>&);
template void max_pool_backward(CpuExec&, const MaxPoolBackward<bf16>&);

}  // namespace nepenthe::kernels
