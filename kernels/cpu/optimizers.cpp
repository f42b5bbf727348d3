#include "kernels/optimizers.h"

#include <cmath>
#include <stdexcept>
#include <type_traits>

#include "kernels/cpu/chunks.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu_exec.h"

namespace nepenthe::kernels {
namespace {

/// Calls body(range, lr) for parts of the segments, on the team.
template <class Step, class Body>
void each_part(CpuExec& exec, const Step& o, Body&& body) {
  const std::span<const Segment> segments = o.segments;
  check(segments);
  if (o.grad.narrow != nullptr) throw std::invalid_argument("[optimizers] on the CPU gradients are in fp32");
  if (o.control->diverged_at != 0) return;
  const auto parts_of = [](const Segment& segment) { return parts_of_array(segment.end - segment.begin); };
  int parts = 0;
  for (const Segment& segment : segments) parts += parts_of(segment).parts();
  exec.parallel(parts, [&](int part, int) {
    for (std::size_t i = 0; i < segments.size(); ++i) {
      const Segment& segment = segments[i];
      const Chunks chunks = parts_of(segment);
      if (part < chunks.parts()) {
        const Range range = chunks[part];
        return body(Range{segment.begin + range.begin, segment.begin + range.end}, o.control->learning_rates[i]);
      }
      part -= chunks.parts();
    }
  });
}

/// The mask of W elements, as it lies in memory and as wide as they are.
template <int W>
struct Mask {
  typedef std::uint8_t bytes __attribute__((vector_size(W), aligned(1), may_alias));
  typedef std::int32_t lanes __attribute__((vector_size(W * sizeof(float))));
};

/// `stepped` where the mask is not 0, else `kept`, bit by bit.
template <int W>
NEPENTHE_INLINE typename Lanes<W>::type chosen(const std::uint8_t* mask, const typename Lanes<W>::type& stepped,
                                               const typename Lanes<W>::type& kept) {
  if constexpr (W == 1) {
    return *mask != 0 ? stepped : kept;
  } else {
    const typename Mask<W>::bytes bytes = *reinterpret_cast<const typename Mask<W>::bytes*>(mask);
    return __builtin_convertvector(bytes, typename Mask<W>::lanes) != 0 ? stepped : kept;
  }
}

/// Writes what has been stepped; Masked: where the mask says so.
template <int W, bool Masked>
NEPENTHE_INLINE void store_stepped(float* memory, const std::uint8_t* mask, const typename Lanes<W>::type& stepped) {
  if constexpr (Masked) {
    store<W>(memory, chosen<W>(mask, stepped, load<W>(memory)));
  } else {
    store<W>(memory, stepped);
  }
}

/// Of a weight with index i, and its rounding where there is one.
template <int W, bool Masked>
NEPENTHE_INLINE void store_weight(float* w, bf16* rounded, std::size_t i, const std::uint8_t* mask,
                                  const typename Lanes<W>::type& stepped) {
  store_stepped<W, Masked>(w + i, mask, stepped);
  if (rounded != nullptr) store<W>(rounded + i, load<W>(w + i));
}

template <int W, bool Momentum, bool Nesterov, bool Masked>
NEPENTHE_INLINE void sgd_range(const SgdStep* o, Range range, float lr) {
  const SgdSettings& s = o->settings;
  float* w = o->w + range.begin;
  bf16* rounded = o->rounded != nullptr ? o->rounded + range.begin : nullptr;
  float* v = o->v + range.begin;
  const float* grad = o->grad.wide + range.begin;
  const std::uint8_t* mask = Masked ? o->mask + range.begin : nullptr;
  const bool first = o->control->steps == 1;
  const float take = 1.0f - s.dampening;
  each<W>(
      range.end - range.begin, [&](auto width, std::size_t i, auto) __attribute__((always_inline)) {
        const std::uint8_t* chosen_here = Masked ? mask + i : nullptr;
        const auto weight = load<width>(w + i);
        auto step = load<width>(grad + i) + s.weight_decay * weight;
        if constexpr (Momentum) {
          // The first step must not use the velocity: it may be anything, NaN too.
          const auto velocity = first ? step : s.momentum * load<width>(v + i) + take * step;
          store_stepped<width, Masked>(v + i, chosen_here, velocity);
          step = Nesterov ? step + s.momentum * velocity : velocity;
        }
        store_weight<width, Masked>(w, rounded, i, chosen_here, weight - lr * step);
      });
}

struct AdamArguments {
  const AdamStep* operands;
  double correction1, correction2_root;  // 1 − beta1^step, √(1 − beta2^step)
};

NEPENTHE_INLINE float square_root(float x) { return std::sqrt(x); }

template <class Vector>
NEPENTHE_INLINE Vector square_root(const Vector& value) {
  Vector x = value;
  for (std::size_t lane = 0; lane < sizeof(Vector) / sizeof(float); ++lane) x[lane] = std::sqrt(x[lane]);
  return x;
}

template <int W, bool Masked>
NEPENTHE_INLINE void adam_range(const AdamArguments* arguments, Range range, float lr) {
  const AdamStep& o = *arguments->operands;
  const AdamSettings& s = o.settings;
  float* w = o.w + range.begin;
  bf16* rounded = o.rounded != nullptr ? o.rounded + range.begin : nullptr;
  float* m = o.m + range.begin;
  float* v = o.v + range.begin;
  const float* grad = o.grad.wide + range.begin;
  const std::uint8_t* mask = Masked ? o.mask + range.begin : nullptr;
  const auto step_size = static_cast<float>(lr / arguments->correction1);
  const auto root_factor = static_cast<float>(1 / arguments->correction2_root);
  const float take1 = 1.0f - s.beta1, take2 = 1.0f - s.beta2;
  each<W>(
      range.end - range.begin, [&](auto width, std::size_t i, auto) __attribute__((always_inline)) {
        const std::uint8_t* chosen_here = Masked ? mask + i : nullptr;
        const auto weight = load<width>(w + i);
        const auto g = load<width>(grad + i) + s.weight_decay * weight;
        const auto first_moment = s.beta1 * load<width>(m + i) + take1 * g;
        const auto second_moment = s.beta2 * load<width>(v + i) + take2 * g * g;
        store_stepped<width, Masked>(m + i, chosen_here, first_moment);
        store_stepped<width, Masked>(v + i, chosen_here, second_moment);
        const auto denominator = square_root(second_moment) * root_factor + s.eps;
        store_weight<width, Masked>(w, rounded, i, chosen_here, weight - step_size * (first_moment / denominator));
      });
}

/// Calls run.operator()<Masked>().
template <class Run>
void with_mask(const std::uint8_t* mask, Run&& run) {
  if (mask != nullptr) return run.template operator()<true>();
  run.template operator()<false>();
}

}  // namespace

void sgd_step(CpuExec& exec, const SgdStep& o) {
  const SgdSettings& s = o.settings;
  with_mask(o.mask, [&]<bool Masked>() {
    each_part(exec, o, [&](Range range, float lr) {
      if (s.momentum == 0) {
        on_isa<sgd_range<16, false, false, Masked>, sgd_range<8, false, false, Masked>,
               sgd_range<4, false, false, Masked>>(exec.isa(), &o, range, lr);
      } else if (s.nesterov) {
        on_isa<sgd_range<16, true, true, Masked>, sgd_range<8, true, true, Masked>, sgd_range<4, true, true, Masked>>(
            exec.isa(), &o, range, lr);
      } else {
        on_isa<sgd_range<16, true, false, Masked>, sgd_range<8, true, false, Masked>,
               sgd_range<4, true, false, Masked>>(exec.isa(), &o, range, lr);
      }
    });
  });
}

void adam_step(CpuExec& exec, const AdamStep& o) {
  const auto step = static_cast<double>(o.control->steps);
  const AdamArguments arguments{.operands = &o,
                                .correction1 = 1 - std::pow(double{o.settings.beta1}, step),
                                .correction2_root = std::sqrt(1 - std::pow(double{o.settings.beta2}, step))};
  with_mask(o.mask, [&]<bool Masked>() {
    each_part(exec, o, [&](Range range, float lr) {
      on_isa<adam_range<16, Masked>, adam_range<8, Masked>, adam_range<4, Masked>>(exec.isa(), &arguments, range, lr);
    });
  });
}

}  // namespace nepenthe::kernels
