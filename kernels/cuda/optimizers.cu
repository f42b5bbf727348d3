#include "kernels/optimizers.h"

#include <algorithm>
#include <cmath>

#include "kernels/cuda/context.h"
#include "kernels/cuda/device/vector.cuh"

namespace nepenthe::kernels {
namespace {

constexpr int threads = 256;
constexpr int V = 4;  // elements of a thread

/// The segments of a launch, one along the grid's y each.
struct Segments {
  Segment of[StepControl::parameter_groups];
};

/// Which of Width elements from a place on are stepped; without a mask all.
template <int Width, bool Masked>
struct Chosen {
  __device__ Chosen(const std::uint8_t*, std::size_t) {}
  __device__ bool any() const { return true; }
  __device__ bool operator[](int) const { return true; }
};
template <int Width>
struct Chosen<Width, true> {
  Packed<std::uint8_t, Width> mask;
  __device__ Chosen(const std::uint8_t* masks, std::size_t at)
      : mask(*reinterpret_cast<const Packed<std::uint8_t, Width>*>(masks + at)) {}
  __device__ bool any() const {
    unsigned all = 0;
#pragma unroll
    for (int i = 0; i < Width; ++i) all |= mask.v[i];
    return all != 0;
  }
  __device__ bool operator[](int i) const { return mask.v[i] != 0; }
};

/// Calls update(index, lr, chosen) for the thread's elements in its segment: once for V of them, where they lie in it
/// whole, so that they are read and written as one; else once for each. Not where none of them is chosen.
template <bool Masked, class Update>
__device__ void each_element(const Segments& segments, const StepControl* control, const std::uint8_t* mask,
                             Update update) {
  static_assert(StepControl::parameter_groups == 2);
  const Segment segment = blockIdx.y == 0 ? segments.of[0] : segments.of[1];  // an index would copy them to the stack
  const std::size_t group = segment.begin / V + std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const std::size_t first = group * V;
  if (first >= segment.end || control->diverged_at != 0) return;
  const float lr = control->learning_rates[blockIdx.y];
  const auto visit = [&]<int Width>(std::size_t at) {
    const Chosen<Width, Masked> chosen(mask, at);
    if (chosen.any()) update.template operator()<Width>(at, lr, chosen);
  };
  if (first >= segment.begin && first + V <= segment.end) {
    visit.template operator()<V>(first);
    return;
  }
  for (std::size_t i = first; i < first + V; ++i) {
    if (i >= segment.begin && i < segment.end) visit.template operator()<1>(i);
  }
}

/// Behind all other loads: it waits for one, which says where from.
template <int Width>
__device__ Floats<Width> load_gradient(const Gradients& grad, std::size_t at) {
  if (grad.narrow != nullptr && grad.is_narrow[at / Gradients::stretch] != 0) return load<Width>(grad.narrow + at);
  return load<Width>(grad.wide + at);
}

template <int Width>
__device__ void store_weight(float* w, bf16* rounded, std::size_t at, const Floats<Width>& weight) {
  store(w + at, weight);
  if (rounded != nullptr) store(rounded + at, weight);
}

template <bool Momentum, bool Masked>
__global__ void __launch_bounds__(threads)
    sgd_kernel(Segments segments, const StepControl* control, float* w, bf16* rounded, float* v, Gradients grad,
               const std::uint8_t* mask, SgdSettings settings) {
  wait_for_earlier_kernels();
  const bool first = control->steps == 1;
  const float take = 1.0f - settings.dampening;
  each_element<Masked>(segments, control, mask, [&]<int Width>(std::size_t at, float lr, const auto& chosen) {
    Floats<Width> weight = load<Width>(w + at);
    Floats<Width> velocity{};
    if constexpr (Momentum) {
      // The first step must not use it: it may be anything, NaN too.
      if (Masked || !first) velocity = load<Width>(v + at);
    }
    const Floats<Width> gradient = load_gradient<Width>(grad, at);
#pragma unroll
    for (int i = 0; i < Width; ++i) {
      if (!chosen[i]) continue;
      float step = fmaf(settings.weight_decay, weight[i], gradient[i]);
      if constexpr (Momentum) {
        velocity[i] = first ? step : fmaf(settings.momentum, velocity[i], take * step);
        step = settings.nesterov ? fmaf(settings.momentum, velocity[i], step) : velocity[i];
      }
      weight[i] = fmaf(-lr, step, weight[i]);
    }
    if constexpr (Momentum) store(v + at, velocity);
    store_weight(w, rounded, at, weight);
  });
}

template <bool Masked>
__global__ void __launch_bounds__(threads)
    adam_kernel(Segments segments, const StepControl* control, float* w, bf16* rounded, float* m, float* v,
                Gradients grad, const std::uint8_t* mask, AdamSettings settings) {
  wait_for_earlier_kernels();
  NEPENTHE_SHARED(float, corrections, [2]);  // 1/(1 − beta1^step), 1/√(1 − beta2^step)
  if (threadIdx.x == 0) {
    const auto step = static_cast<double>(control->steps);
    corrections[0] = static_cast<float>(1 / (1 - pow(double{settings.beta1}, step)));
    corrections[1] = static_cast<float>(1 / sqrt(1 - pow(double{settings.beta2}, step)));
  }
  __syncthreads();
  const float correction1 = corrections[0], correction2 = corrections[1];
  const float take1 = 1.0f - settings.beta1, take2 = 1.0f - settings.beta2;
  each_element<Masked>(segments, control, mask, [&]<int Width>(std::size_t at, float lr, const auto& chosen) {
    Floats<Width> weight = load<Width>(w + at), first = load<Width>(m + at), second = load<Width>(v + at);
    const Floats<Width> gradient = load_gradient<Width>(grad, at);
#pragma unroll
    for (int i = 0; i < Width; ++i) {
      if (!chosen[i]) continue;
      const float g = fmaf(settings.weight_decay, weight[i], gradient[i]);
      first[i] = fmaf(settings.beta1, first[i], take1 * g);
      second[i] = fmaf(settings.beta2, second[i], take2 * g * g);
      const float denominator = fmaf(sqrtf(second[i]), correction2, settings.eps);
      weight[i] = fmaf(-lr * correction1, first[i] / denominator, weight[i]);
    }
    store(m + at, first);
    store(v + at, second);
    store_weight(w, rounded, at, weight);
  });
}

/// Calls run(grid, segments) unless there is nothing to do.
template <class Run>
void with_segments(std::span<const Segment> segments, Run&& run) {
  check(segments);
  Segments taken{};
  std::size_t groups = 0;  // of V elements, of the longest segment
  for (std::size_t i = 0; i < segments.size(); ++i) {
    taken.of[i] = segments[i];
    if (segments[i].end > segments[i].begin) {
      groups = std::max(groups, (segments[i].end + V - 1) / V - segments[i].begin / V);
    }
  }
  if (groups == 0) return;
  run(dim3(static_cast<unsigned>((groups + threads - 1) / threads), static_cast<unsigned>(segments.size())), taken);
}

}  // namespace

void sgd_step(CudaExec& exec, const SgdStep& o) {
  with_segments(o.segments, [&](dim3 grid, const Segments& taken) {
    const auto launch = [&]<bool Momentum, bool Masked>() {
      NEPENTHE_LAUNCH((sgd_kernel<Momentum, Masked>), grid, threads, 0, exec.context().stream, taken, o.control, o.w,
                      o.rounded, o.v, o.grad, o.mask, o.settings);
    };
    const bool momentum = o.settings.momentum != 0, masked = o.mask != nullptr;
    if (momentum && masked) return launch.template operator()<true, true>();
    if (momentum) return launch.template operator()<true, false>();
    if (masked) return launch.template operator()<false, true>();
    launch.template operator()<false, false>();
  });
}

void adam_step(CudaExec& exec, const AdamStep& o) {
  with_segments(o.segments, [&](dim3 grid, const Segments& taken) {
    const auto launch = [&]<bool Masked>() {
      NEPENTHE_LAUNCH(adam_kernel<Masked>, grid, threads, 0, exec.context().stream, taken, o.control, o.w, o.rounded,
                      o.m, o.v, o.grad, o.mask, o.settings);
    };
    if (o.mask != nullptr) return launch.template operator()<true>();
    launch.template operator()<false>();
  });
}

}  // namespace nepenthe::kernels
