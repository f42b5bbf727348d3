#include "kernels/optimizers.h"

#include <cmath>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "kernels/cpu/chunks.h"
#include "kernels/cpu/isa.h"

namespace nepenthe::kernels {
namespace {

/// Calls body(range, lr) for parts of the segments, on the team.
template <class Body>
void each_part(CpuExec& exec, std::span<const Segment> segments, const StepControl& control, Body&& body) {
  if (segments.size() > StepControl::parameter_groups) {
    throw std::invalid_argument("[optimizers] " + std::to_string(segments.size()) + " segments: at most " +
                                std::to_string(StepControl::parameter_groups) + " have a learning rate");
  }
  if (control.diverged_at != 0) return;
  const auto parts_of = [](const Segment& segment) { return parts_of_array(segment.end - segment.begin); };
  int parts = 0;
  for (const Segment& segment : segments) parts += parts_of(segment).parts();
  exec.parallel(parts, [&](int part, int) {
    for (std::size_t i = 0; i < segments.size(); ++i) {
      const Segment& segment = segments[i];
      const Chunks chunks = parts_of(segment);
      if (part < chunks.parts()) {
        const Range range = chunks[part];
        return body(Range{segment.begin + range.begin, segment.begin + range.end}, control.learning_rates[i]);
      }
      part -= chunks.parts();
    }
  });
}

struct SgdArguments {
  float *w, *v;
  const float* grad;
  SgdSettings settings;
  bool first;
};

template <int W, bool Momentum, bool Nesterov>
NEPENTHE_INLINE void sgd_range(const SgdArguments* arguments, Range range, float lr) {
  const SgdSettings& s = arguments->settings;
  float* w = arguments->w + range.begin;
  float* v = arguments->v + range.begin;
  const float* grad = arguments->grad + range.begin;
  const bool first = arguments->first;
  const float take = 1.0f - s.dampening;
  each<W>(
      range.end - range.begin, [&](auto width, std::size_t i, auto) __attribute__((always_inline)) {
        const auto weight = load<width>(w + i);
        auto step = load<width>(grad + i) + s.weight_decay * weight;
        if constexpr (Momentum) {
          // The first step must not read the velocity: it may be anything, NaN too.
          const auto velocity = first ? step : s.momentum * load<width>(v + i) + take * step;
          store<width>(v + i, velocity);
          step = Nesterov ? step + s.momentum * velocity : velocity;
        }
        store<width>(w + i, weight - lr * step);
      });
}

struct AdamArguments {
  float *w, *m, *v;
  const float* grad;
  AdamSettings settings;
  double correction1, correction2_root;  // 1 − beta1^step, √(1 − beta2^step)
};

NEPENTHE_INLINE float square_root(float x) { return std::sqrt(x); }

template <class Vector>
NEPENTHE_INLINE Vector square_root(const Vector& value) {
  Vector x = value;
  for (std::size_t lane = 0; lane < sizeof(Vector) / sizeof(float); ++lane) x[lane] = std::sqrt(x[lane]);
  return x;
}

template <int W>
NEPENTHE_INLINE void adam_range(const AdamArguments* arguments, Range range, float lr) {
  const AdamSettings& s = arguments->settings;
  float* w = arguments->w + range.begin;
  float* m = arguments->m + range.begin;
  float* v = arguments->v + range.begin;
  const float* grad = arguments->grad + range.begin;
  const auto step_size = static_cast<float>(lr / arguments->correction1);
  const auto root_factor = static_cast<float>(1 / arguments->correction2_root);
  const float take1 = 1.0f - s.beta1, take2 = 1.0f - s.beta2;
  each<W>(
      range.end - range.begin, [&](auto width, std::size_t i, auto) __attribute__((always_inline)) {
        const auto weight = load<width>(w + i);
        const auto g = load<width>(grad + i) + s.weight_decay * weight;
        const auto first_moment = s.beta1 * load<width>(m + i) + take1 * g;
        const auto second_moment = s.beta2 * load<width>(v + i) + take2 * g * g;
        store<width>(m + i, first_moment);
        store<width>(v + i, second_moment);
        const auto denominator = square_root(second_moment) * root_factor + s.eps;
        store<width>(w + i, weight - step_size * (first_moment / denominator));
      });
}

}  // namespace

void sgd_step(CpuExec& exec, std::span<const Segment> segments, const StepControl* control, float* w, float* v,
              const float* grad, const SgdSettings& settings) {
  const SgdArguments arguments{.w = w, .v = v, .grad = grad, .settings = settings, .first = control->steps == 1};
  each_part(exec, segments, *control, [&](Range range, float lr) {
    if (settings.momentum == 0) {
      on_isa<sgd_range<16, false, false>, sgd_range<8, false, false>>(exec.isa(), &arguments, range, lr);
    } else if (settings.nesterov) {
      on_isa<sgd_range<16, true, true>, sgd_range<8, true, true>>(exec.isa(), &arguments, range, lr);
    } else {
      on_isa<sgd_range<16, true, false>, sgd_range<8, true, false>>(exec.isa(), &arguments, range, lr);
    }
  });
}

void adam_step(CpuExec& exec, std::span<const Segment> segments, const StepControl* control, float* w, float* m,
               float* v, const float* grad, const AdamSettings& settings) {
  const auto step = static_cast<double>(control->steps);
  const AdamArguments arguments{.w = w,
                                .m = m,
                                .v = v,
                                .grad = grad,
                                .settings = settings,
                                .correction1 = 1 - std::pow(double{settings.beta1}, step),
                                .correction2_root = std::sqrt(1 - std::pow(double{settings.beta2}, step))};
  each_part(exec, segments, *control,
            [&](Range range, float lr) { on_isa<adam_range<16>, adam_range<8>>(exec.isa(), &arguments, range, lr); });
}

}  // namespace nepenthe::kernels
