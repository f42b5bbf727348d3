#include "kernels/pool.h"

#include "kernels/cuda/context.h"
#include "kernels/cuda/device/rows.cuh"

namespace nepenthe::kernels {
namespace {

/// A block takes one picture: its rows are the pixels.
template <class T, int V>
__global__ void __launch_bounds__(row_threads) forward_kernel(RowTiling tiling, float* y, const T* x) {
  wait_for_earlier_kernels();
  NEPENTHE_SHARED(float, shared, [row_threads * V]);
  const RowPlace<V> place(tiling);
  Floats<V> sum{};
  for (std::int64_t row = place.row; row < place.end; row += tiling.rows_at_once) {
    const Floats<V> value = load<V>(x + row * tiling.channels + place.channel);
#pragma unroll
    for (int i = 0; i < V; ++i) sum[i] += value[i];
  }
  sum_over_rows(tiling, place, shared, sum);
  if (place.row_in_turn == 0) {
#pragma unroll
    for (int i = 0; i < V; ++i) sum[i] /= static_cast<float>(tiling.rows_per_block);
    store(y + std::int64_t{blockIdx.x} * tiling.channels + place.channel, sum);
  }
}

template <class T, int V, bool Adds>
__global__ void __launch_bounds__(row_threads) backward_kernel(RowTiling tiling, T* dx, const float* dy) {
  wait_for_earlier_kernels();
  const RowPlace<V> place(tiling);
  if (!place.active) return;
  Floats<V> share = load<V>(dy + std::int64_t{blockIdx.x} * tiling.channels + place.channel);
#pragma unroll
  for (int i = 0; i < V; ++i) share[i] /= static_cast<float>(tiling.rows_per_block);
  for (std::int64_t row = place.row; row < place.end; row += tiling.rows_at_once) {
    T* to = dx + row * tiling.channels + place.channel;
    Floats<V> value = share;
    if constexpr (Adds) {
      const Floats<V> before = load<V>(to);
#pragma unroll
      for (int i = 0; i < V; ++i) value[i] += before[i];
    }
    store(to, value);
  }
}

/// Calls run.operator()<V>(tiling) with blocks that are pictures.
template <class T, class Run>
void with_tiling(const ImageShape& shape, Run&& run) {
  const auto call = [&]<int V>() {
    const int plane = shape.h * shape.w;
    RowTiling tiling = tile_rows<V>(std::int64_t{shape.n} * plane, shape.c, 1, 1 << 30);
    tiling.rows_per_block = plane;
    run.template operator()<V>(tiling);
  };
  if (shape.c % widest<T> == 0) return call.template operator()<widest<T>>();
  call.template operator()<1>();
}

}  // namespace

template <class T>
void global_avg_pool_forward(CudaExec& exec, const GlobalAvgPoolForward<T>& o) {
  check("global_avg_pool", o.shape);
  with_tiling<T>(o.shape, [&]<int V>(const RowTiling& tiling) {
    NEPENTHE_LAUNCH((forward_kernel<T, V>), o.shape.n, row_threads, 0, exec.context().stream, tiling, o.y, o.x);
  });
}

template <class T>
void global_avg_pool_backward(CudaExec& exec, const GlobalAvgPoolBackward<T>& o) {
  check("global_avg_pool", o.shape);
  with_tiling<T>(o.shape, [&]<int V>(const RowTiling& tiling) {
    if (o.accumulate == Accumulate::add) {
      NEPENTHE_LAUNCH((backward_kernel<T, V, true>), o.shape.n, row_threads, 0, exec.context().stream, tiling, o.dx,
                      o.dy);
    } else {
      NEPENTHE_LAUNCH((backward_kernel<T, V, false>), o.shape.n, row_threads, 0, exec.context().stream, tiling, o.dx,
                      o.dy);
    }
  });
}

template void global_avg_pool_forward(CudaExec&, const GlobalAvgPoolForward<float>&);
template void global_avg_pool_forward(CudaExec&, const GlobalAvgPoolForward<bf16>&);
template void global_avg_pool_backward(CudaExec&, const GlobalAvgPoolBackward<float>&);
template void global_avg_pool_backward(CudaExec&, const GlobalAvgPoolBackward<bf16>&);

}  // namespace nepenthe::kernels
