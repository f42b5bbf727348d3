#include <limits>
#include <stdexcept>

#include "kernels/cuda/context.h"
#include "kernels/cuda/device/rows.cuh"
#include "kernels/pool.h"

namespace nepenthe::kernels {
namespace {

constexpr int rows_per_thread = 4;
constexpr int most_blocks = 1 << 16;

/// Where a row of outputs or inputs (N, H, W) lies; a division of 64 bits would be a call.
struct Pixel {
  int image, row, column;
  __device__ Pixel(std::int64_t index, int h, int w) {
    const auto rows = static_cast<int>(index) / w;
    column = static_cast<int>(index) - rows * w;
    image = rows / h;
    row = rows - image * h;
  }
};

/// A thread takes V channels of one output after another.
template <class T, int V>
__global__ void __launch_bounds__(row_threads, 4)
    forward_kernel(RowTiling tiling, PoolShape s, int out_h, int out_w, T* y, std::uint8_t* taps, const T* x) {
  wait_for_earlier_kernels();
  const RowPlace<V> place(tiling);
  for (std::int64_t output = place.row; output < place.end; output += tiling.rows_at_once) {
    const Pixel at(output, out_h, out_w);
    const int top = at.row * s.stride - s.padding, left = at.column * s.stride - s.padding;
    const int row_begin = max(top, 0), row_end = min(top + s.kernel, s.h);
    const int column_begin = max(left, 0), column_end = min(left + s.kernel, s.w);
    Floats<V> largest;
    int taken[V];
#pragma unroll
    for (int i = 0; i < V; ++i) {
      largest[i] = -INFINITY;
      taken[i] = (row_begin - top) * s.kernel + column_begin - left;
    }
    for (int row = row_begin; row < row_end; ++row) {
      for (int column = column_begin; column < column_end; ++column) {
        const Floats<V> value =
            load<V>(x + ((std::int64_t{at.image} * s.h + row) * s.w + column) * tiling.channels + place.channel);
#pragma unroll
        for (int i = 0; i < V; ++i) {
          if (value[i] > largest[i] || value[i] != value[i]) {
            largest[i] = value[i];
            taken[i] = (row - top) * s.kernel + column - left;
          }
        }
      }
    }
    const std::int64_t own = output * tiling.channels + place.channel;
    store(y + own, largest);
    if (taps == nullptr) continue;
    Packed<std::uint8_t, V> bytes;
#pragma unroll
    for (int i = 0; i < V; ++i) bytes.v[i] = static_cast<std::uint8_t>(taken[i]);
    *reinterpret_cast<Packed<std::uint8_t, V>*>(taps + own) = bytes;
  }
}

/// A thread takes V channels of one input after another and looks at the windows that cover it.
template <class T, int V, bool Adds>
__global__ void __launch_bounds__(row_threads, 4)
    backward_kernel(RowTiling tiling, PoolShape s, int out_h, int out_w, T* dx, const T* dy, const std::uint8_t* taps) {
  wait_for_earlier_kernels();
  const RowPlace<V> place(tiling);
  for (std::int64_t input = place.row; input < place.end; input += tiling.rows_at_once) {
    const Pixel at(input, s.h, s.w);
    T* to = dx + input * tiling.channels + place.channel;
    Floats<V> sum{};
    if constexpr (Adds) sum = load<V>(to);
    const int row_begin = max(at.row + s.padding - s.kernel + s.stride, 0) / s.stride;
    const int row_end = min((at.row + s.padding) / s.stride + 1, out_h);
    const int column_begin = max(at.column + s.padding - s.kernel + s.stride, 0) / s.stride;
    const int column_end = min((at.column + s.padding) / s.stride + 1, out_w);
    for (int row = row_begin; row < row_end; ++row) {
#pragma unroll 1  // more at once would spill registers
      for (int column = column_begin; column < column_end; ++column) {
        const std::int64_t output =
            ((std::int64_t{at.image} * out_h + row) * out_w + column) * tiling.channels + place.channel;
        const auto taken = *reinterpret_cast<const Packed<std::uint8_t, V>*>(taps + output);
        const int tap = (at.row + s.padding - row * s.stride) * s.kernel + at.column + s.padding - column * s.stride;
        const Floats<V> gradient = load<V>(dy + output);
#pragma unroll
        for (int i = 0; i < V; ++i) {
          if (taken.v[i] == tap) sum[i] += gradient[i];
        }
      }
    }
    store(to, sum);
  }
}

/// Calls run.operator()<V>(tiling) over the rows of activations.
template <class T, class Run>
void with_tiling(const ImageShape& shape, Run&& run) {
  const std::int64_t rows = std::int64_t{shape.n} * shape.h * shape.w;
  if (rows > std::numeric_limits<int>::max()) throw std::invalid_argument("[max_pool] more than 2^31 - 1 pixels");
  const auto call = [&]<int V>() {
    run.template operator()<V>(tile_rows<V>(rows, shape.c, rows_per_thread, most_blocks));
  };
  if (shape.c % widest<T> == 0) return call.template operator()<widest<T>>();
  call.template operator()<1>();
}

}  // namespace

template <class T>
void max_pool_forward(CudaExec& exec, const MaxPoolForward<T>& o) {
  check("max_pool", o.shape);
  const PoolShape& s = o.shape;
  with_tiling<T>(s.output(), [&]<int V>(const RowTiling& tiling) {
    NEPENTHE_LAUNCH((forward_kernel<T, V>), tiling.blocks(), row_threads, 0, exec.context().stream, tiling, s,
                    s.out_h(), s.out_w(), o.y, o.taps, o.x);
  });
}

template <class T>
void max_pool_backward(CudaExec& exec, const MaxPoolBackward<T>& o) {
  check("max_pool", o.shape);
  const PoolShape& s = o.shape;
  with_tiling<T>(s.input(), [&]<int V>(const RowTiling& tiling) {
    if (o.accumulate == Accumulate::add) {
      NEPENTHE_LAUNCH((backward_kernel<T, V, true>), tiling.blocks(), row_threads, 0, exec.context().stream, tiling, s,
                      s.out_h(), s.out_w(), o.dx, o.dy, o.taps);
    } else {
      NEPENTHE_LAUNCH((backward_kernel<T, V, false>), tiling.blocks(), row_threads, 0, exec.context().stream, tiling, s,
                      s.out_h(), s.out_w(), o.dx, o.dy, o.taps);
    }
  });
}

template void max_pool_forward(CudaExec&, const MaxPoolForward<float>&);
template void max_pool_forward(CudaExec&, const MaxPoolForward<bf16>&);
template void max_pool_backward(CudaExec&, const MaxPoolBackward<float>&);
template void max_pool_backward(CudaExec&, const MaxPoolBackward<bf16>&);

}  // namespace nepenthe::kernels
