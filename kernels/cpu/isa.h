// Vectors of fixed width, and loop bodies compiled for several instruction sets and chosen at run time.
//
// A body is an always-inline function template on the vector width W, which is that of the instruction set's registers.
// It is inlined into on_isa's wrappers, each of which has a target attribute, so that one source yields SSE, AVX2 and
// AVX-512 code without -march. The team's threads come in outside, in CpuExec::parallel: a lambda inside a body would
// be compiled without the attribute.
//
// Compilers choose which products of an expression they fuse with a sum, and each version of one its own way. So that
// bits do not depend on who compiled, they may not (-ffp-contract=off): what is to be fused is a multiply_add.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <immintrin.h>

#include "kernels/bf16.h"
#include "kernels/isa.h"

// Vectors are passed by reference or returned, between always-inline functions only: no calling convention is in use.
#pragma GCC diagnostic ignored "-Wpsabi"

#define NEPENTHE_INLINE [[gnu::always_inline]] inline

namespace nepenthe::kernels {

/// W floats, and W floats in memory, at any address that a float may have; one float for W = 1, as in the rest of a
/// row.
template <int W>
struct Lanes {
  typedef float type __attribute__((vector_size(W * sizeof(float))));
  typedef float stored __attribute__((vector_size(W * sizeof(float)), aligned(sizeof(float)), may_alias));
};
template <>
struct Lanes<1> {
  typedef float type;
  typedef float stored;
};

/// Says to a generic lambda how many lanes it works on.
template <int W>
using Width = std::integral_constant<int, W>;

template <int W>
NEPENTHE_INLINE typename Lanes<W>::type load(const float* memory) {
  return *reinterpret_cast<const typename Lanes<W>::stored*>(memory);
}

template <int W>
NEPENTHE_INLINE void store(float* memory, const typename Lanes<W>::type& value) {
  *reinterpret_cast<typename Lanes<W>::stored*>(memory) = value;
}

/// W numbers in memory as bf16, and their bits as those of floats.
template <int W>
struct Halves {
  typedef std::uint16_t stored __attribute__((vector_size(W * sizeof(bf16)), aligned(sizeof(bf16)), may_alias));
  typedef std::uint32_t words __attribute__((vector_size(W * sizeof(float))));
};

template <int W>
NEPENTHE_INLINE typename Lanes<W>::type load(const bf16* memory) {
  if constexpr (W == 1) {
    return to_float(*memory);
  } else {
    typedef typename Halves<W>::stored Stored;  // not auto, which would forget how little aligned it is
    return (typename Lanes<W>::type)(
        __builtin_convertvector(*reinterpret_cast<const Stored*>(memory), typename Halves<W>::words) << 16);
  }
}

/// Rounds as to_bf16 does; x86-64-v4 makes numbers below the smallest normal one (1.2e-38) 0.
template <int W>
NEPENTHE_INLINE void store(bf16* memory, const typename Lanes<W>::type& value) {
  if constexpr (W == 1) {
    *memory = to_bf16(value);
  } else if constexpr (W == 16) {
    typename Halves<W>::stored halves;
    // Not by the builtin, whose type is another one with each version of the compiler.
    asm("vcvtneps2bf16 %1, %0" : "=v"(halves) : "v"(value));
    *reinterpret_cast<typename Halves<W>::stored*>(memory) = halves;
  } else {
    const auto bits = (typename Halves<W>::words)value;
    const auto rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    // NOLINTNEXTLINE(misc-redundant-expression): a number that is not one differs from itself
    const auto halves = value != value ? (bits >> 16) | 0x40u : rounded;
    *reinterpret_cast<typename Halves<W>::stored*>(memory) =
        __builtin_convertvector(halves, typename Halves<W>::stored);
  }
}

template <int W>
NEPENTHE_INLINE typename Lanes<W>::type broadcast(float value) {
  return typename Lanes<W>::type{} + value;
}

/// a·b + c, rounded once where the instruction set can (x86-64-v3 and v4; not in the rest of a row).
NEPENTHE_INLINE float multiply_add(float a, float b, float c) { return a * b + c; }
NEPENTHE_INLINE Lanes<4>::type multiply_add(const Lanes<4>::type& a, const Lanes<4>::type& b, const Lanes<4>::type& c) {
  return a * b + c;
}
NEPENTHE_INLINE Lanes<8>::type multiply_add(const Lanes<8>::type& a, const Lanes<8>::type& b, const Lanes<8>::type& c) {
  return __builtin_ia32_vfmaddps256(a, b, c);
}
NEPENTHE_INLINE Lanes<16>::type multiply_add(const Lanes<16>::type& a, const Lanes<16>::type& b,
                                             const Lanes<16>::type& c) {
  return __builtin_ia32_vfmaddps512_mask(a, b, c, -1, _MM_FROUND_CUR_DIRECTION);
}
template <class Vector>
requires(!std::is_same_v<Vector, float>) NEPENTHE_INLINE Vector
    multiply_add(float a, const Vector& b, const Vector& c) {
  Vector zero = {};  // minus 0 changes nothing, and is nothing in the code
  return multiply_add(a - zero, b, c);
}

template <int W>
NEPENTHE_INLINE float sum_of_lanes(const typename Lanes<W>::type& value) {
  float sum = 0;
  for (int lane = 0; lane < W; ++lane) sum += value[lane];
  return sum;
}

/// Calls step(Width<L>, i, slot) for i over [0, count): four vectors at a time with slots 0 to 3 (one accumulator each
/// hides the latency of additions), then single vectors, then single floats, both with slot 0.
template <int W, class Step>
NEPENTHE_INLINE void each(std::size_t count, Step&& step) {
  std::size_t i = 0;
  for (; i + 4 * W <= count; i += 4 * W) {
    step(Width<W>(), i, Width<0>());
    step(Width<W>(), i + W, Width<1>());
    step(Width<W>(), i + 2 * W, Width<2>());
    step(Width<W>(), i + 3 * W, Width<3>());
  }
  for (; i + W <= count; i += W) step(Width<W>(), i, Width<0>());
  for (; i < count; ++i) step(Width<1>(), i, Width<0>());
}

/// y (count) += x (count); a body.
template <int W>
NEPENTHE_INLINE void add_to(std::size_t count, float* y, const float* x) {
  each<W>(
      count, [&](auto width, std::size_t i, auto)
                 __attribute__((always_inline)) { store<width>(y + i, load<width>(y + i) + load<width>(x + i)); });
}

template <auto Body, class... Arguments>
[[gnu::target("arch=x86-64-v4,prefer-vector-width=512"), gnu::noinline]] void on_v4(Arguments... arguments) {
  Body(arguments...);
}

template <auto Body, class... Arguments>
[[gnu::target("arch=x86-64-v3"), gnu::noinline]] void on_v3(Arguments... arguments) {
  Body(arguments...);
}

template <auto Body, class... Arguments>
[[gnu::target("arch=x86-64-v2"), gnu::noinline]] void on_v2(Arguments... arguments) {
  Body(arguments...);
}

/// Calls the body of `isa`: those of 16, 8 and 4 lanes are x86-64-v4's, v3's and v2's.
template <auto Body16, auto Body8, auto Body4, class... Arguments>
void on_isa(Isa isa, Arguments... arguments) {
  switch (isa) {
    case Isa::v4: return on_v4<Body16>(arguments...);
    case Isa::v3: return on_v3<Body8>(arguments...);
    case Isa::v2: return on_v2<Body4>(arguments...);
  }
}

}  // namespace nepenthe::kernels
