#include "kernels/batch_norm.h"

#include <cmath>

#include "kernels/cuda/context.h"
#include "kernels/cuda/device/last_block.cuh"
#include "kernels/cuda/device/rows.cuh"

namespace nepenthe::kernels {
namespace {

constexpr int most_partials = 512;  // blocks of a reduction, which its last block has to combine
constexpr int rows_ahead = 4;       // of which a thread has the loads in flight
constexpr int partials_ahead = 8;   // likewise of blocks' results
// A multiprocessor need not hold more blocks: for more the compiler would save registers, with fewer loads in flight.
constexpr int resident_blocks = 2;

/// Keeps NaN, so that a diverged network is seen.
__device__ float rectified(float v) { return v < 0 ? 0.0f : v; }

/// norm(x). Backward recomputes it where the sign decides about the ReLU: one fused operation, so the same bits.
__device__ float normalised(float x, float mean, float scale, float beta) { return fmaf(x - mean, scale, beta); }

/// The gradient behind the ReLU, which output `v` has let pass or not.
__device__ float masked(float dy, float v) { return v <= 0 ? 0.0f : dy; }

template <int V>
__device__ Floats<V> load_scale(const float* gamma, const float* rstd, int channel) {
  Floats<V> scale = load<V>(gamma + channel);
  const Floats<V> factor = load<V>(rstd + channel);
#pragma unroll
  for (int i = 0; i < V; ++i) scale[i] *= factor[i];
  return scale;
}

/// The second stage of a reduction, by one block: calls finish(channel, sum of term(block, channel).x, …y) for every
/// channel, once. `shared`: 2·row_threads floats.
template <class Term, class Finish>
__device__ void combine_blocks(int blocks, int channels, float* shared, Term term, Finish finish) {
  RowTiling tiling{.rows = blocks};
  tiling.channels = tiling.vectors = channels < row_threads ? channels : row_threads;
  tiling.rows_at_once = row_threads / tiling.channels;
  tiling.rows_per_block = blocks;
  const int thread = static_cast<int>(threadIdx.x);
  for (int first = 0; first < channels; first += tiling.channels) {
    RowPlace<1> place;
    place.channel = thread % tiling.channels;
    place.row_in_turn = thread / tiling.channels;
    const int channel = first + place.channel;
    place.active = place.row_in_turn < tiling.rows_at_once;
    Floats<1> a{}, b{};
    if (place.active && channel < channels) {
      const int step = tiling.rows_at_once;
      for (int block = place.row_in_turn; block < blocks; block += partials_ahead * step) {
        float2 terms[partials_ahead];
#pragma unroll
        for (int i = 0; i < partials_ahead; ++i) terms[i] = term(min(block + i * step, blocks - 1), channel);
#pragma unroll
        for (int i = 0; i < partials_ahead; ++i) {
          const bool counts = block + i * step < blocks;  // adding 0 changes no sum that began with +0
          a[0] += counts ? terms[i].x : 0.0f;
          b[0] += counts ? terms[i].y : 0.0f;
        }
      }
    }
    sum_over_rows(tiling, place, shared, a, b);
    if (place.row_in_turn == 0 && channel < channels) finish(channel, a[0], b[0]);
    __syncthreads();
  }
}

struct StatisticsOutputs {
  float *mean, *rstd, *running_mean, *running_var;
  float eps, momentum;
};

/// Mean and sum of squared deviations of each channel: a block takes deviations from its first row, so that a large
/// mean cannot swallow the variance, and the blocks' moments are merged by Chan, Golub & LeVeque's formula.
/// partial (blocks, 2, channels).
template <class T, int V>
__global__ void __launch_bounds__(row_threads, resident_blocks)
    statistics_kernel(RowTiling tiling, StatisticsOutputs out, const T* x, float* partial, unsigned* ticket) {
  wait_for_earlier_kernels();
  NEPENTHE_SHARED(float, shared, [2 * row_threads * V]);
  NEPENTHE_SHARED(unsigned, last, [1]);
  const RowPlace<V> place(tiling);
  const int channels = tiling.channels;
  const std::int64_t begin = std::int64_t{blockIdx.x} * tiling.rows_per_block;
  Floats<V> shift{}, sum{}, square{};
  if (place.active) shift = load<V>(x + begin * channels + place.channel);
  each_row<rows_ahead>(
      tiling, place, [&](std::int64_t at) { return load_packed<V>(x + at); },
      [&](std::int64_t, const Packed<T, V>& value) {
#pragma unroll
        for (int i = 0; i < V; ++i) {
          const float deviation = to_float(value.v[i]) - shift[i];
          sum[i] += deviation;
          square[i] = fmaf(deviation, deviation, square[i]);
        }
      });
  sum_over_rows(tiling, place, shared, sum, square);
  if (place.row_in_turn == 0) {
    const auto count = static_cast<float>(place.end - begin);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      const float total = sum[i], squares = square[i];
      sum[i] = shift[i] + total / count;
      square[i] = fmaxf(squares - total * (total / count), 0.0f);
    }
    float* own = partial + std::int64_t{blockIdx.x} * 2 * channels + place.channel;
    store(own, sum);
    store(own + channels, square);
  }
  if (!is_last_block(ticket, last)) return;

  const int blocks = static_cast<int>(gridDim.x);
  const auto rows_of = [&](int block) {
    const std::int64_t left = tiling.rows - std::int64_t{block} * tiling.rows_per_block;
    return static_cast<float>(left < tiling.rows_per_block ? left : tiling.rows_per_block);
  };
  combine_blocks(
      blocks, channels, shared,
      [&](int block, int c) {
        const float* moments = partial + std::int64_t{block} * 2 * channels + c;
        const float deviation = __ldcg(moments) - __ldcg(partial + c), count = rows_of(block);
        return make_float2(count * deviation, fmaf(count * deviation, deviation, __ldcg(moments + channels)));
      },
      [&](int c, float deviations, float squares) {
        const auto count = static_cast<double>(tiling.rows);
        const double mean = __ldcg(partial + c) + deviations / count;
        const double around_mean = squares - deviations / count * deviations;
        const double variance = around_mean > 0 ? around_mean / count : 0;
        const double unbiased = count > 1 ? variance * (count / (count - 1)) : variance;
        const double momentum = out.momentum;
        out.mean[c] = static_cast<float>(mean);
        out.rstd[c] = static_cast<float>(1 / sqrt(variance + out.eps));
        out.running_mean[c] = static_cast<float>((1 - momentum) * out.running_mean[c] + momentum * mean);
        out.running_var[c] = static_cast<float>((1 - momentum) * out.running_var[c] + momentum * unbiased);
      });
}

/// y = relu?((x − mean)·scale + beta [+ residual]); scale = gamma·spread, or in inference gamma/√(spread + eps), where
/// spread is the variance.
template <class T, int V, bool Add, bool Relu>
__global__ void __launch_bounds__(row_threads, resident_blocks)
    normalise_kernel(RowTiling tiling, T* y, const T* x, const T* residual, const float* gamma, const float* beta,
                     const float* mean, const float* spread, bool inference, float eps) {
  wait_for_earlier_kernels();
  const RowPlace<V> place(tiling);
  if (!place.active) return;
  const Floats<V> centre = load<V>(mean + place.channel), shift = load<V>(beta + place.channel);
  const Floats<V> factor = load<V>(spread + place.channel);
  Floats<V> scale = load<V>(gamma + place.channel);
#pragma unroll
  for (int i = 0; i < V; ++i) scale[i] = inference ? scale[i] / sqrtf(factor[i] + eps) : scale[i] * factor[i];
  struct Row {
    Packed<T, V> x, residual;
  };
  each_row<rows_ahead>(
      tiling, place,
      [&](std::int64_t at) {
        Row row{};
        row.x = load_packed<V>(x + at);
        if constexpr (Add) row.residual = load_packed<V>(residual + at);
        return row;
      },
      [&](std::int64_t at, const Row& row) {
        Floats<V> value;
#pragma unroll
        for (int i = 0; i < V; ++i) {
          value[i] = normalised(to_float(row.x.v[i]), centre[i], scale[i], shift[i]);
          if constexpr (Add) value[i] += to_float(row.residual.v[i]);
          if constexpr (Relu) value[i] = rectified(value[i]);
        }
        store(y + at, value);
      });
}

/// What becomes of the gradient of the residual.
enum class Residual { none, assign, add };

template <class T>
struct BackwardOperands {
  const T *dy, *x, *y;
  T* dresidual;
  const float *gamma, *beta, *mean, *rstd;
};

/// What the passes of backward read of V channels of a row. Kept: dx_kernel finds the gradient behind the ReLU in
/// dresidual, where the first pass has left it.
template <class T, int V, bool Relu, Residual residual, bool Kept>
struct BackwardRow {
  Packed<T, V> x, dy, y;

  __device__ static BackwardRow load(const BackwardOperands<T>& o, std::int64_t at) {
    BackwardRow row{};
    row.x = load_packed<V>(o.x + at);
    row.dy = load_packed<V>((Kept ? o.dresidual : o.dy) + at);
    if constexpr (!Kept && Relu && residual != Residual::none) row.y = load_packed<V>(o.y + at);
    return row;
  }

  /// The gradient behind the ReLU, of channel i.
  __device__ float gradient(int i, const Floats<V>& mean, const Floats<V>& scale, const Floats<V>& beta) const {
    const float g = to_float(dy.v[i]);
    if constexpr (Kept || !Relu) return g;
    if constexpr (residual != Residual::none) return masked(g, to_float(y.v[i]));
    return masked(g, normalised(to_float(x.v[i]), mean[i], scale[i], beta[i]));
  }
};

struct GradientOutputs {
  float *dgamma, *dbeta;
  bool adds;
  float *slope, *offset;  // (channels) each: dx = g·scale + (x − mean)·slope + offset
};

/// Sums of g and of g·(x − mean) for each channel; writes or adds the residual's gradient. partial (blocks, 2,
/// channels).
template <class T, int V, bool Relu, Residual residual>
__global__ void __launch_bounds__(row_threads, resident_blocks)
    gradient_sums_kernel(RowTiling tiling, BackwardOperands<T> o, GradientOutputs out, float* partial,
                         unsigned* ticket) {
  wait_for_earlier_kernels();
  NEPENTHE_SHARED(float, shared, [2 * row_threads * V]);
  NEPENTHE_SHARED(unsigned, last, [1]);
  const RowPlace<V> place(tiling);
  const int channels = tiling.channels;
  Floats<V> sum{}, product{};
  if (place.active) {
    const Floats<V> mean = load<V>(o.mean + place.channel), beta = load<V>(o.beta + place.channel);
    const Floats<V> scale = load_scale<V>(o.gamma, o.rstd, place.channel);
    struct Row {
      BackwardRow<T, V, Relu, residual, false> operands;
      Packed<T, V> dresidual;
    };
    each_row<rows_ahead>(
        tiling, place,
        [&](std::int64_t at) {
          Row row{};
          row.operands = decltype(row.operands)::load(o, at);
          if constexpr (residual == Residual::add) row.dresidual = load_packed<V>(o.dresidual + at);
          return row;
        },
        [&](std::int64_t at, const Row& row) {
          Floats<V> g;
#pragma unroll
          for (int i = 0; i < V; ++i) {
            g[i] = row.operands.gradient(i, mean, scale, beta);
            sum[i] += g[i];
            product[i] = fmaf(g[i], to_float(row.operands.x.v[i]) - mean[i], product[i]);
            if constexpr (residual == Residual::add) g[i] = to_float(row.dresidual.v[i]) + g[i];
          }
          if constexpr (residual != Residual::none) store(o.dresidual + at, g);
        });
  }
  sum_over_rows(tiling, place, shared, sum, product);
  if (place.row_in_turn == 0) {
    float* own = partial + std::int64_t{blockIdx.x} * 2 * channels + place.channel;
    store(own, sum);
    store(own + channels, product);
  }
  if (!is_last_block(ticket, last)) return;

  combine_blocks(
      static_cast<int>(gridDim.x), channels, shared,
      [&](int block, int c) {
        const float* sums = partial + std::int64_t{block} * 2 * channels + c;
        return make_float2(__ldcg(sums), __ldcg(sums + channels));
      },
      [&](int c, float gradients, float products) {
        const auto count = static_cast<float>(tiling.rows);
        const float rstd = o.rstd[c], scale = o.gamma[c] * rstd, dgamma = products * rstd;
        out.dgamma[c] = out.adds ? out.dgamma[c] + dgamma : dgamma;
        out.dbeta[c] = out.adds ? out.dbeta[c] + gradients : gradients;
        out.slope[c] = -scale * rstd * (dgamma / count);
        out.offset[c] = -scale * (gradients / count);
      });
}

template <class T, int V, bool Relu, Residual residual>
__global__ void __launch_bounds__(row_threads, resident_blocks)
    dx_kernel(RowTiling tiling, T* dx, BackwardOperands<T> o, const float* slope, const float* offset) {
  wait_for_earlier_kernels();
  const RowPlace<V> place(tiling);
  if (!place.active) return;
  const Floats<V> mean = load<V>(o.mean + place.channel), beta = load<V>(o.beta + place.channel);
  const Floats<V> scale = load_scale<V>(o.gamma, o.rstd, place.channel);
  const Floats<V> rise = load<V>(slope + place.channel), level = load<V>(offset + place.channel);
  using Row = BackwardRow<T, V, Relu, residual, residual == Residual::assign>;
  each_row<rows_ahead>(
      tiling, place, [&](std::int64_t at) { return Row::load(o, at); },
      [&](std::int64_t at, const Row& row) {
        Floats<V> result;
#pragma unroll
        for (int i = 0; i < V; ++i) {
          const float g = row.gradient(i, mean, scale, beta);
          result[i] = fmaf(g, scale[i], fmaf(to_float(row.x.v[i]) - mean[i], rise[i], level[i]));
        }
        store(dx + at, result);
      });
}

std::int64_t rows_of(const BatchNormShape& shape) {
  return std::int64_t{shape.image.n} * shape.image.h * shape.image.w;
}

/// Calls run.operator()<V>() with the widest access that fits the channels.
template <class T, class Run>
void with_width(int channels, Run&& run) {
  if (channels % widest<T> == 0) return run.template operator()<widest<T>>();
  run.template operator()<1>();
}

/// Elementwise kernels are cut finer than reductions: their blocks need not be combined.
template <int V>
RowTiling elementwise_tiling(const BatchNormShape& shape) {
  return tile_rows<V>(rows_of(shape), shape.image.c, 4, 1 << 30);
}
template <int V>
RowTiling reduction_tiling(const BatchNormShape& shape) {
  return tile_rows<V>(rows_of(shape), shape.image.c, 8, most_partials);
}

/// `o` is of a forward pass or of inference; `spread` is what normalise_kernel says.
template <class T, class Operands>
void normalise(CudaContext& context, const Operands& o, const float* spread, bool inference) {
  const BatchNormShape& shape = o.shape;
  with_width<T>(shape.image.c, [&]<int V>() {
    const RowTiling tiling = elementwise_tiling<V>(shape);
    const auto run = [&]<bool Add, bool Relu>() {
      NEPENTHE_LAUNCH((normalise_kernel<T, V, Add, Relu>), tiling.blocks(), row_threads, 0, context.stream, tiling, o.y,
                      o.x, o.residual, o.gamma, o.beta, o.mean, spread, inference, shape.eps);
    };
    if (shape.add && shape.relu) return run.template operator()<true, true>();
    if (shape.add) return run.template operator()<true, false>();
    if (shape.relu) return run.template operator()<false, true>();
    run.template operator()<false, false>();
  });
}

}  // namespace

template <class T>
void batch_norm_forward(CudaExec& exec, const BatchNormForward<T>& o) {
  const BatchNormShape& shape = o.shape;
  check("batch_norm", shape.image);
  CudaContext& context = exec.context();
  with_width<T>(shape.image.c, [&]<int V>() {
    const RowTiling tiling = reduction_tiling<V>(shape);
    auto* partial =
        static_cast<float*>(context.workspace(std::size_t{2} * tiling.blocks() * tiling.channels * sizeof(float)));
    const StatisticsOutputs out{.mean = o.mean,
                                .rstd = o.rstd,
                                .running_mean = o.running_mean,
                                .running_var = o.running_var,
                                .eps = shape.eps,
                                .momentum = shape.momentum};
    NEPENTHE_LAUNCH((statistics_kernel<T, V>), tiling.blocks(), row_threads, 0, context.stream, tiling, out, o.x,
                    partial, context.ticket);
  });
  normalise<T>(context, o, o.rstd, false);
}

template <class T>
void batch_norm_inference(CudaExec& exec, const BatchNormInference<T>& o) {
  check("batch_norm", o.shape.image);
  normalise<T>(exec.context(), o, o.var, true);
}

template <class T>
void batch_norm_backward(CudaExec& exec, const BatchNormBackward<T>& o) {
  const BatchNormShape& shape = o.shape;
  check("batch_norm", shape.image);
  CudaContext& context = exec.context();
  const BackwardOperands<T> operands{.dy = o.dy,
                                     .x = o.x,
                                     .y = o.y,
                                     .dresidual = o.dresidual,
                                     .gamma = o.gamma,
                                     .beta = o.beta,
                                     .mean = o.mean,
                                     .rstd = o.rstd};
  with_width<T>(shape.image.c, [&]<int V>() {
    const RowTiling sums = reduction_tiling<V>(shape), elements = elementwise_tiling<V>(shape);
    const std::size_t channels = shape.image.c;
    auto* slope =
        static_cast<float*>(context.workspace((2 + std::size_t{2} * sums.blocks()) * channels * sizeof(float)));
    float* offset = slope + channels;
    float* partial = offset + channels;
    const GradientOutputs out{.dgamma = o.dgamma,
                              .dbeta = o.dbeta,
                              .adds = o.accumulate == Accumulate::add,
                              .slope = slope,
                              .offset = offset};
    const auto run = [&]<bool Relu, Residual residual>() {
      NEPENTHE_LAUNCH((gradient_sums_kernel<T, V, Relu, residual>), sums.blocks(), row_threads, 0, context.stream, sums,
                      operands, out, partial, context.ticket);
      NEPENTHE_LAUNCH((dx_kernel<T, V, Relu, residual>), elements.blocks(), row_threads, 0, context.stream, elements,
                      o.dx, operands, slope, offset);
    };
    const auto with_residual = [&]<bool Relu>() {
      if (!shape.add) return run.template operator()<Relu, Residual::none>();
      if (o.accumulate_residual == Accumulate::assign) return run.template operator()<Relu, Residual::assign>();
      run.template operator()<Relu, Residual::add>();
    };
    if (shape.relu) return with_residual.template operator()<true>();
    with_residual.template operator()<false>();
  });
}

template void batch_norm_forward(CudaExec&, const BatchNormForward<float>&);
template void batch_norm_forward(CudaExec&, const BatchNormForward<bf16>&);
template void batch_norm_inference(CudaExec&, const BatchNormInference<float>&);
template void batch_norm_inference(CudaExec&, const BatchNormInference<bf16>&);
template void batch_norm_backward(CudaExec&, const BatchNormBackward<float>&);
template void batch_norm_backward(CudaExec&, const BatchNormBackward<bf16>&);

}  // namespace nepenthe::kernels
