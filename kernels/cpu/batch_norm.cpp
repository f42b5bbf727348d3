// Memory bound: the fewest passes over the activations count. Forward two (statistics; normalisation), backward two
// (sums; dx). The second pass runs over the batch backwards, since the end of it is what the caches still hold.
#include "kernels/batch_norm.h"

#include <cmath>

#include "kernels/cpu/chunks.h"
#include "kernels/cpu/layout.h"
#include "kernels/cpu/normalised.h"

namespace nepenthe::kernels {
namespace {

/// What the loops over a chunk need; members that a pass does not use are null.
template <class T>
struct Pass {
  Layout layout;
  const T *x = nullptr, *y = nullptr, *dy = nullptr, *residual = nullptr;
  T *out = nullptr, *dresidual = nullptr;
  // Numbers for each channel.
  const float *mean = nullptr, *scale = nullptr, *beta = nullptr;  // scale = gamma·rstd
  const float *offset = nullptr, *slope = nullptr;                 // dx = scale·g + slope·(x − mean) + offset
};

/// The gradient behind the ReLU, which output `v` has let pass or not.
template <class Vector>
NEPENTHE_INLINE Vector masked(const Vector& dy, const Vector& v) {
  return v <= 0 ? Vector{} : dy;
}

/// Mean and sum of squared deviations of each channel over a chunk, to means and squares (C). Each run's deviations are
/// taken from the run's own mean, in a second pass over it that the cache serves, so that a large mean cannot swallow
/// the variance; runs are merged by Chan, Golub & LeVeque's update.
template <int W, class T>
NEPENTHE_INLINE void moments_of_chunk(const Pass<T>* pass, Range images, float* means, float* squares) {
  const Layout& layout = pass->layout;
  const int block = layout.block, lanes = block == 1 ? 1 : W;
  const auto plane = static_cast<float>(layout.plane);
  for (int k = 0; k < layout.blocks; ++k) {
    float* mean = means + k * lanes;
    float* square = squares + k * lanes;
    for (std::size_t n = images.begin; n < images.end; ++n) {
      const T* x = pass->x + layout.offset(static_cast<int>(n), k);
      RunSum<W> sum;
      each<W>(
          layout.run, [&](auto width, std::size_t i, auto slot)
                          __attribute__((always_inline)) { sum.add(width, slot, load<width>(x + i)); });
      float run_mean[W], run_square[W];
      sum.store_times(1.0f / plane, run_mean, 0, block);
      const PerChannel<W> centre(run_mean, 0, block);
      RunSum<W> deviations;
      each<W>(
          layout.run, [&](auto width, std::size_t i, auto slot) __attribute__((always_inline)) {
            const auto deviation = load<width>(x + i) - centre(width);
            deviations.add(width, slot, deviation * deviation);
          });
      deviations.store_times(1.0f, run_square, 0, block);
      const auto before = static_cast<float>(n - images.begin);
      for (int lane = 0; lane < lanes; ++lane) {
        if (before == 0) {
          mean[lane] = run_mean[lane];
          square[lane] = run_square[lane];
        } else {
          const float shift = run_mean[lane] - mean[lane];
          mean[lane] += shift / (before + 1);
          square[lane] += run_square[lane] + shift * shift * (plane * before / (before + 1));
        }
      }
    }
  }
}

template <int W, bool Add, bool Relu, class T>
NEPENTHE_INLINE void normalise_chunk(const Pass<T>* pass, Range images) {
  const Layout& layout = pass->layout;
  for (std::size_t n = images.end; n-- > images.begin;) {
    for (int k = layout.blocks; k-- > 0;) {
      const std::size_t at = layout.offset(static_cast<int>(n), k);
      const T* x = pass->x + at;
      T* y = pass->out + at;
      const PerChannel<W> mean(pass->mean, k, layout.block), scale(pass->scale, k, layout.block),
          beta(pass->beta, k, layout.block);
      each<W>(
          layout.run, [&](auto width, std::size_t i, auto) __attribute__((always_inline)) {
            auto v = normalised(load<width>(x + i), mean(width), scale(width), beta(width));
            if constexpr (Add) v += load<width>(pass->residual + at + i);
            store<width>(y + i, Relu ? rectified(v) : v);
          });
    }
  }
}

/// What becomes of the gradient of the residual.
enum class Residual { none, assign, add };

/// The masked gradient at element i; Kept: the first pass has left it in dresidual.
template <int W, bool Relu, Residual residual, bool Kept, class T>
struct MaskedGradient {
  const Pass<T>& pass;
  std::size_t at;
  PerChannel<W> mean, scale, beta;

  NEPENTHE_INLINE MaskedGradient(const Pass<T>& p, int n, int k)
      : pass(p),
        at(p.layout.offset(n, k)),
        mean(p.mean, k, p.layout.block),
        scale(p.scale, k, p.layout.block),
        beta(p.beta, k, p.layout.block) {}

  template <int L>
  NEPENTHE_INLINE typename Lanes<L>::type operator()(Width<L> width, std::size_t i) const {
    typedef typename Lanes<L>::type Vector;
    if constexpr (Kept) return load<L>(pass.dresidual + at + i);
    const Vector dy = load<L>(pass.dy + at + i);
    if constexpr (!Relu) {
      return dy;
    } else if constexpr (residual == Residual::none) {
      const Vector x = load<L>(pass.x + at + i);
      return masked<Vector>(dy, normalised<Vector>(x, mean(width), scale(width), beta(width)));
    } else {
      return masked<Vector>(dy, load<L>(pass.y + at + i));
    }
  }
};

/// Sums of g and of g·(x − mean) for each channel over a chunk, of which the runs are added in order; writes or adds
/// the residual's gradient.
template <int W, bool Relu, Residual residual, class T>
NEPENTHE_INLINE void gradient_sums_of_chunk(const Pass<T>* pass, Range images, float* sums, float* products) {
  const Layout& layout = pass->layout;
  const int block = layout.block, lanes = block == 1 ? 1 : W;
  for (int k = 0; k < layout.blocks; ++k) {
    for (std::size_t n = images.begin; n < images.end; ++n) {
      const MaskedGradient<W, Relu, residual, false, T> gradient(*pass, static_cast<int>(n), k);
      const std::size_t at = gradient.at;
      const T* x = pass->x + at;
      T* dresidual = pass->dresidual + (residual == Residual::none ? 0 : at);
      RunSum<W> sum, product;
      each<W>(
          layout.run, [&](auto width, std::size_t i, auto slot) __attribute__((always_inline)) {
            const auto g = gradient(width, i);
            sum.add(width, slot, g);
            product.add(width, slot, g * (load<width>(x + i) - gradient.mean(width)));
            if constexpr (residual == Residual::assign) store<width>(dresidual + i, g);
            if constexpr (residual == Residual::add) store<width>(dresidual + i, load<width>(dresidual + i) + g);
          });
      float run_sum[W], run_product[W];
      sum.store_times(1.0f, run_sum, 0, block);
      product.store_times(1.0f, run_product, 0, block);
      for (int lane = 0; lane < lanes; ++lane) {
        const int c = k * lanes + lane;
        const bool first = n == images.begin;
        sums[c] = first ? run_sum[lane] : sums[c] + run_sum[lane];
        products[c] = first ? run_product[lane] : products[c] + run_product[lane];
      }
    }
  }
}

template <int W, bool Relu, Residual residual, class T>
NEPENTHE_INLINE void dx_of_chunk(const Pass<T>* pass, Range images) {
  const Layout& layout = pass->layout;
  for (std::size_t n = images.end; n-- > images.begin;) {
    for (int k = layout.blocks; k-- > 0;) {
      const MaskedGradient<W, Relu, residual, residual == Residual::assign, T> gradient(*pass, static_cast<int>(n), k);
      const PerChannel<W> slope(pass->slope, k, layout.block), offset(pass->offset, k, layout.block);
      const T* x = pass->x + gradient.at;
      T* dx = pass->out + gradient.at;
      each<W>(
          layout.run, [&](auto width, std::size_t i, auto) __attribute__((always_inline)) {
            const auto deviation = load<width>(x + i) - gradient.mean(width);
            store<width>(dx + i,
                         gradient(width, i) * gradient.scale(width) + (deviation * slope(width) + offset(width)));
          });
    }
  }
}

template <class T>
void normalise(CpuExec& exec, const BatchNormShape& shape, const Pass<T>& pass) {
  const Chunks chunks = chunks_of_images(shape.image.n);
  const Isa isa = exec.isa();
  exec.parallel(chunks.parts(), [&](int part, int) {
    const Range images = chunks[chunks.parts() - 1 - part];
    const auto run = [&]<bool Add, bool Relu>() {
      on_isa<normalise_chunk<16, Add, Relu, T>, normalise_chunk<8, Add, Relu, T>, normalise_chunk<4, Add, Relu, T>>(
          isa, &pass, images);
    };
    if (shape.add && shape.relu) return run.template operator()<true, true>();
    if (shape.add) return run.template operator()<true, false>();
    if (shape.relu) return run.template operator()<false, true>();
    run.template operator()<false, false>();
  });
}

template <bool Relu, Residual residual, class T>
void backward_sums(CpuExec& exec, const Pass<T>& pass, const Chunks& chunks, int channels, float* sums) {
  exec.parallel(chunks.parts(), [&](int part, int) {
    float* own = sums + 2 * std::size_t(part) * channels;
    on_isa<gradient_sums_of_chunk<16, Relu, residual, T>, gradient_sums_of_chunk<8, Relu, residual, T>,
           gradient_sums_of_chunk<4, Relu, residual, T>>(exec.isa(), &pass, chunks[part], own, own + channels);
  });
}

template <bool Relu, Residual residual, class T>
void backward_dx(CpuExec& exec, const Pass<T>& pass, const Chunks& chunks) {
  exec.parallel(chunks.parts(), [&](int part, int) {
    on_isa<dx_of_chunk<16, Relu, residual, T>, dx_of_chunk<8, Relu, residual, T>, dx_of_chunk<4, Relu, residual, T>>(
        exec.isa(), &pass, chunks[chunks.parts() - 1 - part]);
  });
}

}  // namespace

template <class T>
void batch_norm_forward(CpuExec& exec, const BatchNormForward<T>& o) {
  const BatchNormShape& shape = o.shape;
  check("batch_norm", shape.image);
  const int channels = shape.image.c;
  const Chunks chunks = chunks_of_images(shape.image.n);
  float* moments = exec.workspace((2 * std::size_t(chunks.parts()) + 1) * channels);
  float* scale = moments + 2 * std::size_t(chunks.parts()) * channels;
  Pass<T> pass{.layout = layout_of(exec, shape.image),
               .x = o.x,
               .residual = o.residual,
               .out = o.y,
               .mean = o.mean,
               .scale = scale,
               .beta = o.beta};
  exec.parallel(chunks.parts(), [&](int part, int) {
    float* means = moments + 2 * std::size_t(part) * channels;
    on_isa<moments_of_chunk<16, T>, moments_of_chunk<8, T>, moments_of_chunk<4, T>>(exec.isa(), &pass, chunks[part],
                                                                                    means, means + channels);
  });

  const auto plane = static_cast<double>(pass.layout.plane);
  const double count = plane * shape.image.n;
  for (int c = 0; c < channels; ++c) {
    double weighted = 0;
    for (int part = 0; part < chunks.parts(); ++part) {
      weighted += chunks[part].size() * double{moments[2 * std::size_t(part) * channels + c]};
    }
    const double centre = weighted / shape.image.n;
    double squares = 0;
    for (int part = 0; part < chunks.parts(); ++part) {
      const float* own = moments + 2 * std::size_t(part) * channels + c;
      const double shift = own[0] - centre;
      squares += own[channels] + shift * shift * plane * chunks[part].size();
    }
    const double variance = squares / count;
    const double unbiased = count > 1 ? squares / (count - 1) : variance;
    o.mean[c] = static_cast<float>(centre);
    o.rstd[c] = static_cast<float>(1 / std::sqrt(variance + double{shape.eps}));
    const double momentum = shape.momentum;
    o.running_mean[c] = static_cast<float>((1 - momentum) * o.running_mean[c] + momentum * centre);
    o.running_var[c] = static_cast<float>((1 - momentum) * o.running_var[c] + momentum * unbiased);
  }
  if (o.y == nullptr) return;
  scales(channels, scale, o.gamma, o.rstd);
  normalise(exec, shape, pass);
}

template <class T>
void batch_norm_inference(CpuExec& exec, const BatchNormInference<T>& o) {
  const BatchNormShape& shape = o.shape;
  check("batch_norm", shape.image);
  const int channels = shape.image.c;
  float* scale = exec.workspace(std::size_t(channels));
  scales(channels, scale, o.gamma, o.var, shape.eps);
  normalise(exec, shape,
            Pass<T>{.layout = layout_of(exec, shape.image),
                    .x = o.x,
                    .residual = o.residual,
                    .out = o.y,
                    .mean = o.mean,
                    .scale = scale,
                    .beta = o.beta});
}

template <class T>
void batch_norm_backward(CpuExec& exec, const BatchNormBackward<T>& o) {
  const BatchNormShape& shape = o.shape;
  check("batch_norm", shape.image);
  const int channels = shape.image.c;
  const Chunks chunks = chunks_of_images(shape.image.n);
  const std::size_t sums_floats = 2 * std::size_t(chunks.parts()) * channels;
  float* sums = exec.workspace(sums_floats + 3 * std::size_t(channels));
  float* scale = sums + sums_floats;
  float* slope = scale + channels;
  float* offset = slope + channels;
  const Pass<T> pass{.layout = layout_of(exec, shape.image),
                     .x = o.x,
                     .y = o.y,
                     .dy = o.dy,
                     .out = o.dx,
                     .dresidual = o.dresidual,
                     .mean = o.mean,
                     .scale = scale,
                     .beta = o.beta,
                     .offset = offset,
                     .slope = slope};
  scales(channels, scale, o.gamma, o.rstd);

  const Residual residual = !shape.add                                    ? Residual::none
                            : o.accumulate_residual == Accumulate::assign ? Residual::assign
                                                                          : Residual::add;
  const auto with_flags = [&](auto&& call) {
    if (shape.relu) {
      if (residual == Residual::none) return call.template operator()<true, Residual::none>();
      if (residual == Residual::assign) return call.template operator()<true, Residual::assign>();
      return call.template operator()<true, Residual::add>();
    }
    if (residual == Residual::none) return call.template operator()<false, Residual::none>();
    if (residual == Residual::assign) return call.template operator()<false, Residual::assign>();
    return call.template operator()<false, Residual::add>();
  };
  with_flags([&]<bool Relu, Residual R>() { backward_sums<Relu, R>(exec, pass, chunks, channels, sums); });

  const double count = static_cast<double>(pass.layout.plane) * shape.image.n;
  for (int c = 0; c < channels; ++c) {
    double sum = 0, product = 0;
    for (int part = 0; part < chunks.parts(); ++part) {
      sum += sums[2 * std::size_t(part) * channels + c];
      product += sums[(2 * std::size_t(part) + 1) * channels + c];
    }
    const double dgamma_c = product * o.rstd[c];
    const bool adds = o.accumulate == Accumulate::add;
    o.dgamma[c] = static_cast<float>(adds ? o.dgamma[c] + dgamma_c : dgamma_c);
    o.dbeta[c] = static_cast<float>(adds ? o.dbeta[c] + sum : sum);
    slope[c] = static_cast<float>(-scale[c] * o.rstd[c] * dgamma_c / count);
    offset[c] = static_cast<float>(-scale[c] * sum / count);
  }
  with_flags([&]<bool Relu, Residual R>() { backward_dx<Relu, R>(exec, pass, chunks); });
}

template void batch_norm_forward(CpuExec&, const BatchNormForward<float>&);
template void batch_norm_forward(CpuExec&, const BatchNormForward<bf16>&);
template void batch_norm_inference(CpuExec&, const BatchNormInference<float>&);
template void batch_norm_inference(CpuExec&, const BatchNormInference<bf16>&);
template void batch_norm_backward(CpuExec&, const BatchNormBackward<float>&);
template void batch_norm_backward(CpuExec&, const BatchNormBackward<bf16>&);

}  // namespace nepenthe::kernels
