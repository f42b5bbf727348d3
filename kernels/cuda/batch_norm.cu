#include "kernels/batch_norm.h"

#include <cmath>

#include "kernels/cuda/context.h"
#include "kernels/cuda/device/last_block.cuh"
#include "kernels/cuda/device/rows.cuh"

namespace nepenthe::kernels {
namespace {

constexpr int most_partials = 512;  // blocks of a reduction, which its last block has to combine

/// Keeps NaN, so that a diverged network is seen.
__device__ float rectified(float v) { return v < 0 ? 0.0f : v; }

/// norm(x). Backward recomputes it where the sign decides about the ReLU: one fused operation, so the same bits.
__device__ float normalised(float x, float mean, float scale, float beta) { return fmaf(x - mean, scale, beta); }

/// The gradient behind the ReLU, which output `v` has let pass or not.
__device__ float masked(float dy, float v) { return v <= 0 ? 0.0f : dy; }

template <int V>
__device__ Floats<V> load_scale(const float* gamma, const float* rstd, const RowPlace<V>& place) {
  Floats<V> scale;
#pragma unroll
  for (int i = 0; i < V; ++i) scale[i] = gamma[place.channel + i] * rstd[place.channel + i];
  return scale;
}

template <int V>
__device__ Floats<V> load_channels(const float* values, const RowPlace<V>& place) {
  Floats<V> result;
#pragma unroll
  for (int i = 0; i < V; ++i) result[i] = values[place.channel + i];
  return result;
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
      for (int block = place.row_in_turn; block < blocks; block += tiling.rows_at_once) {
        const float2 t = term(block, channel);
        a[0] += t.x;
        b[0] += t.y;
      }
    }
    sum_over_rows(tiling, place, a, b, shared);
    if (place.row_in_turn == 0 && channel < channels) {
      finish(channel, shared[place.channel], shared[tiling.channels + place.channel]);
    }
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
__global__ void __launch_bounds__(row_threads)
    statistics_kernel(RowTiling tiling, StatisticsOutputs out, const T* x, float* partial, unsigned* ticket) {
  NEPENTHE_SHARED(float, shared, [2 * row_threads * V]);
  NEPENTHE_SHARED(unsigned, last, [1]);
  const RowPlace<V> place(tiling);
  const int channels = tiling.channels;
  const std::int64_t begin = std::int64_t{blockIdx.x} * tiling.rows_per_block;
  Floats<V> shift{}, sum{}, square{};
  if (place.active) shift = load<V>(x + begin * channels + place.channel);
#pragma unroll 4
  for (std::int64_t row = place.row; row < place.end; row += tiling.rows_at_once) {
    const Floats<V> value = load<V>(x + row * channels + place.channel);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      const float deviation = value[i] - shift[i];
      sum[i] += deviation;
      square[i] = fmaf(deviation, deviation, square[i]);
    }
  }
  sum_over_rows(tiling, place, sum, square, shared);
  if (place.row_in_turn == 0) {
    const auto count = static_cast<float>(place.end - begin);
    float* own = partial + std::int64_t{blockIdx.x} * 2 * channels + place.channel;
#pragma unroll
    for (int i = 0; i < V; ++i) {
      const float total = shared[place.channel + i], squares = shared[channels + place.channel + i];
      own[i] = shift[i] + total / count;
      own[channels + i] = fmaxf(squares - total * (total / count), 0.0f);
    }
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
__global__ void __launch_bounds__(row_threads)
    normalise_kernel(RowTiling tiling, T* y, const T* x, const T* residual, const float* gamma, const float* beta,
                     const float* mean, const float* spread, bool inference, float eps) {
  const RowPlace<V> place(tiling);
  if (!place.active) return;
  const Floats<V> centre = load_channels(mean, place), shift = load_channels(beta, place);
  Floats<V> scale = load_channels(gamma, place);
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const float value = spread[place.channel + i];
    scale[i] = inference ? scale[i] / sqrtf(value + eps) : scale[i] * value;
  }
#pragma unroll 4
  for (std::int64_t row = place.row; row < place.end; row += tiling.rows_at_once) {
    const std::int64_t at = row * tiling.channels + place.channel;
    Floats<V> value = load<V>(x + at), other{};
    if constexpr (Add) other = load<V>(residual + at);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      value[i] = normalised(value[i], centre[i], scale[i], shift[i]);
      if constexpr (Add) value[i] += other[i];
      if constexpr (Relu) value[i] = rectified(value[i]);
    }
    store(y + at, value);
  }
}

/// What becomes of the gradient of the residual.
enum class Residual { none, assign, add };

template <class T>
struct BackwardOperands {
  const T *dy, *x, *y;
  T* dresidual;
  const float *gamma, *beta, *mean, *rstd;
};

/// The gradient behind the ReLU for V channels of a row. Kept: the first pass has left it in dresidual.
template <class T, int V, bool Relu, Residual residual, bool Kept>
__device__ Floats<V> masked_gradient(const BackwardOperands<T>& o, std::int64_t at, const Floats<V>& x,
                                     const Floats<V>& mean, const Floats<V>& scale, const Floats<V>& beta) {
  if constexpr (Kept) return load<V>(o.dresidual + at);
  Floats<V> g = load<V>(o.dy + at);
  if constexpr (Relu && residual == Residual::none) {
#pragma unroll
    for (int i = 0; i < V; ++i) g[i] = masked(g[i], normalised(x[i], mean[i], scale[i], beta[i]));
  } else if constexpr (Relu) {
    const Floats<V> y = load<V>(o.y + at);
#pragma unroll
    for (int i = 0; i < V; ++i) g[i] = masked(g[i], y[i]);
  }
  return g;
}

struct GradientOutputs {
  float *dgamma, *dbeta;
  bool adds;
  float *slope, *offset;  // (channels) each: dx = g·scale + (x − mean)·slope + offset
};

/// Sums of g and of g·(x − mean) for each channel; writes or adds the residual's gradient. partial (blocks, 2,
/// channels).
template <class T, int V, bool Relu, Residual residual>
__global__ void __launch_bounds__(row_threads)
    gradient_sums_kernel(RowTiling tiling, BackwardOperands<T> o, GradientOutputs out, float* partial,
                         unsigned* ticket) {
  NEPENTHE_SHARED(float, shared, [2 * row_threads * V]);
  NEPENTHE_SHARED(unsigned, last, [1]);
  const RowPlace<V> place(tiling);
  const int channels = tiling.channels;
  Floats<V> sum{}, product{};
  if (place.active) {
    const Floats<V> mean = load_channels(o.mean, place), scale = load_scale(o.gamma, o.rstd, place);
    const Floats<V> beta = load_channels(o.beta, place);
#pragma unroll 2
    for (std::int64_t row = place.row; row < place.end; row += tiling.rows_at_once) {
      const std::int64_t at = row * channels + place.channel;
      const Floats<V> x = load<V>(o.x + at);
      const Floats<V> g = masked_gradient<T, V, Relu, residual, false>(o, at, x, mean, scale, beta);
#pragma unroll
      for (int i = 0; i < V; ++i) {
        sum[i] += g[i];
        product[i] = fmaf(g[i], x[i] - mean[i], product[i]);
      }
      if constexpr (residual == Residual::assign) store(o.dresidual + at, g);
      if constexpr (residual == Residual::add) {
        Floats<V> total = load<V>(o.dresidual + at);
#pragma unroll
        for (int i = 0; i < V; ++i) total[i] += g[i];
        store(o.dresidual + at, total);
      }
    }
  }
  sum_over_rows(tiling, place, sum, product, shared);
  if (place.row_in_turn == 0) {
    float* own = partial + std::int64_t{blockIdx.x} * 2 * channels + place.channel;
#pragma unroll
    for (int i = 0; i < V; ++i) {
      own[i] = shared[place.channel + i];
      own[channels + i] = shared[channels + place.channel + i];
    }
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
__global__ void __launch_bounds__(row_threads)
    dx_kernel(RowTiling tiling, T* dx, BackwardOperands<T> o, const float* slope, const float* offset) {
  const RowPlace<V> place(tiling);
  if (!place.active) return;
  const Floats<V> mean = load_channels(o.mean, place), scale = load_scale(o.gamma, o.rstd, place);
  const Floats<V> beta = load_channels(o.beta, place);
  const Floats<V> rise = load_channels(slope, place), level = load_channels(offset, place);
#pragma unroll 4
  for (std::int64_t row = place.row; row < place.end; row += tiling.rows_at_once) {
    const std::int64_t at = row * tiling.channels + place.channel;
    const Floats<V> x = load<V>(o.x + at);
    constexpr bool kept = residual == Residual::assign;
    const Floats<V> g = masked_gradient<T, V, Relu, residual, kept>(o, at, x, mean, scale, beta);
    Floats<V> result;
#pragma unroll
    for (int i = 0; i < V; ++i) result[i] = fmaf(g[i], scale[i], fmaf(x[i] - mean[i], rise[i], level[i]));
    store(dx + at, result);
  }
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
