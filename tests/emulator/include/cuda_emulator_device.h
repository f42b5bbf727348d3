// What a kernel's body may use: the part of CUDA's device functions that our kernels need. Warp functions want explicit
// masks and carry up to 8 bytes. __activemask(), inline PTX and cooperative groups are left out on purpose: what they
// would do here says nothing about a device.
#pragma once

#include <math.h>
#include <vector_types.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

// Written by the emulator whenever it turns to another thread. With the default model of thread-local storage the
// linker makes instructions that break UBSan's checks for null (ld 2.40).
#define CUDA_EMULATOR_THREAD_LOCAL extern thread_local constinit __attribute__((tls_model("local-exec")))
CUDA_EMULATOR_THREAD_LOCAL uint3 threadIdx;
CUDA_EMULATOR_THREAD_LOCAL uint3 blockIdx;
CUDA_EMULATOR_THREAD_LOCAL dim3 blockDim;
CUDA_EMULATOR_THREAD_LOCAL dim3 gridDim;
#undef CUDA_EMULATOR_THREAD_LOCAL
inline constexpr int warpSize = 32;

namespace cuda_emulator {

using Place = std::source_location;

/// Where a thread waits, for messages.
struct Site {
  const char* operation;
  Place place;
};

enum class Vote { none, count, all, any };
enum class WarpOperation { sync, shuffle, ballot, add, min, max, bit_and, bit_or, bit_xor };

/// Waits for all threads of the block; the vote's result over their predicates.
int block_barrier(Vote vote, bool predicate, Site site);
/// Waits for the lanes of `mask`; for a shuffle the value of lane `source`, for a ballot the lanes whose value is not
/// 0, else the reduction of the lanes' 32-bit values.
std::uint64_t warp_exchange(WarpOperation operation, unsigned mask, std::uint64_t value, unsigned source, Site site);
void fence(bool beyond_block);
void wait_for_earlier_kernels();  // griddepcontrol.wait
[[noreturn]] void trap(Site site);

inline int lane() {
  return static_cast<int>((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32);
}

template <class T>
T shuffle(unsigned mask, T value, int source, const char* name, Place place) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = warp_exchange(WarpOperation::shuffle, mask, bits, static_cast<unsigned>(source), {name, place});
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

// Under the race checker, atomics are told to it and left alone by the compiler.
void note_atomic(const void* address, unsigned bytes, const void* caller);
#if defined(__SANITIZE_THREAD__)
#define CUDA_EMULATOR_ATOMIC __attribute__((no_sanitize_thread, noinline))
#else
#define CUDA_EMULATOR_ATOMIC inline
#endif

/// *address = change(*address) in one piece; the value before.
template <class T, class Change>
CUDA_EMULATOR_ATOMIC T atomic_update(T* address, Change change) {
#if defined(__SANITIZE_THREAD__)
  note_atomic(address, sizeof(T), __builtin_return_address(0));
#endif
  T before, after;
  __atomic_load(address, &before, __ATOMIC_RELAXED);
  do {
    after = change(before);
  } while (!__atomic_compare_exchange(address, &before, &after, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
  return before;
}
#undef CUDA_EMULATOR_ATOMIC

}  // namespace cuda_emulator

#define CUDA_EMULATOR_PLACE ::cuda_emulator::Place place = ::cuda_emulator::Place::current()

// Barriers and fences.
inline void __syncthreads(CUDA_EMULATOR_PLACE) {
  cuda_emulator::block_barrier(cuda_emulator::Vote::none, false, {"__syncthreads", place});
}
inline int __syncthreads_count(int predicate, CUDA_EMULATOR_PLACE) {
  return cuda_emulator::block_barrier(cuda_emulator::Vote::count, predicate != 0, {"__syncthreads_count", place});
}
inline int __syncthreads_and(int predicate, CUDA_EMULATOR_PLACE) {
  return cuda_emulator::block_barrier(cuda_emulator::Vote::all, predicate != 0, {"__syncthreads_and", place});
}
inline int __syncthreads_or(int predicate, CUDA_EMULATOR_PLACE) {
  return cuda_emulator::block_barrier(cuda_emulator::Vote::any, predicate != 0, {"__syncthreads_or", place});
}
inline void __syncwarp(unsigned mask = 0xffffffffu, CUDA_EMULATOR_PLACE) {
  cuda_emulator::warp_exchange(cuda_emulator::WarpOperation::sync, mask, 0, 0, {"__syncwarp", place});
}
inline void __threadfence_block() { cuda_emulator::fence(false); }
inline void __threadfence() { cuda_emulator::fence(true); }
inline void __threadfence_system() { cuda_emulator::fence(true); }
[[noreturn]] inline void __trap(CUDA_EMULATOR_PLACE) { cuda_emulator::trap({"__trap", place}); }

// Shuffles. A source outside the segment of `width` lanes is the lane itself.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, CUDA_EMULATOR_PLACE) {
  const int begin = cuda_emulator::lane() & ~(width - 1);
  return cuda_emulator::shuffle(mask, value, begin | (source & (width - 1)), "__shfl_sync", place);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, CUDA_EMULATOR_PLACE) {
  const int lane = cuda_emulator::lane(), source = lane ^ lane_mask, end = (lane & ~(width - 1)) + width;
  return cuda_emulator::shuffle(mask, value, source < end ? source : lane, "__shfl_xor_sync", place);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_EMULATOR_PLACE) {
  const int lane = cuda_emulator::lane(), source = lane + static_cast<int>(delta), end = (lane & ~(width - 1)) + width;
  return cuda_emulator::shuffle(mask, value, source < end ? source : lane, "__shfl_down_sync", place);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_EMULATOR_PLACE) {
  const int lane = cuda_emulator::lane(), source = lane - static_cast<int>(delta), begin = lane & ~(width - 1);
  return cuda_emulator::shuffle(mask, value, source >= begin ? source : lane, "__shfl_up_sync", place);
}

// Votes and integer reductions of a warp.
inline unsigned __ballot_sync(unsigned mask, int predicate, CUDA_EMULATOR_PLACE) {
  return static_cast<unsigned>(cuda_emulator::warp_exchange(cuda_emulator::WarpOperation::ballot, mask, predicate != 0,
                                                            0, {"__ballot_sync", place}));
}
inline int __any_sync(unsigned mask, int predicate, CUDA_EMULATOR_PLACE) {
  return cuda_emulator::warp_exchange(cuda_emulator::WarpOperation::ballot, mask, predicate != 0, 0,
                                      {"__any_sync", place}) != 0;
}
inline int __all_sync(unsigned mask, int predicate, CUDA_EMULATOR_PLACE) {
  return cuda_emulator::warp_exchange(cuda_emulator::WarpOperation::ballot, mask, predicate == 0, 0,
                                      {"__all_sync", place}) == 0;
}
#define CUDA_EMULATOR_REDUCE(name, operation)                                                                   \
  inline unsigned name(unsigned mask, unsigned value, CUDA_EMULATOR_PLACE) {                                    \
    return static_cast<unsigned>(                                                                               \
        cuda_emulator::warp_exchange(cuda_emulator::WarpOperation::operation, mask, value, 0, {#name, place})); \
  }
CUDA_EMULATOR_REDUCE(__reduce_add_sync, add)
CUDA_EMULATOR_REDUCE(__reduce_min_sync, min)
CUDA_EMULATOR_REDUCE(__reduce_max_sync, max)
CUDA_EMULATOR_REDUCE(__reduce_and_sync, bit_and)
CUDA_EMULATOR_REDUCE(__reduce_or_sync, bit_or)
CUDA_EMULATOR_REDUCE(__reduce_xor_sync, bit_xor)
#undef CUDA_EMULATOR_REDUCE
// With the sign bit turned over, signed numbers are in the order of unsigned ones.
inline int __reduce_add_sync(unsigned mask, int value, CUDA_EMULATOR_PLACE) {
  return static_cast<int>(__reduce_add_sync(mask, static_cast<unsigned>(value), place));
}
inline int __reduce_min_sync(unsigned mask, int value, CUDA_EMULATOR_PLACE) {
  return static_cast<int>(__reduce_min_sync(mask, static_cast<unsigned>(value) ^ 0x80000000u, place) ^ 0x80000000u);
}
inline int __reduce_max_sync(unsigned mask, int value, CUDA_EMULATOR_PLACE) {
  return static_cast<int>(__reduce_max_sync(mask, static_cast<unsigned>(value) ^ 0x80000000u, place) ^ 0x80000000u);
}
#undef CUDA_EMULATOR_PLACE

// Atomics: always inlined, so that the race checker sees the kernel's own line.
#define CUDA_EMULATOR_ATOMIC(name, ...)                                                        \
  template <class T>                                                                           \
  __forceinline__ T name(T* address, std::type_identity_t<T> value) {                          \
    return cuda_emulator::atomic_update(address, [value](T old) -> T { return __VA_ARGS__; }); \
  }
CUDA_EMULATOR_ATOMIC(atomicAdd, old + value)
CUDA_EMULATOR_ATOMIC(atomicSub, old - value)
CUDA_EMULATOR_ATOMIC(atomicMin, value < old ? value : old)
CUDA_EMULATOR_ATOMIC(atomicMax, old < value ? value : old)
CUDA_EMULATOR_ATOMIC(atomicAnd, old& value)
CUDA_EMULATOR_ATOMIC(atomicOr, old | value)
CUDA_EMULATOR_ATOMIC(atomicXor, old ^ value)
CUDA_EMULATOR_ATOMIC(atomicInc, old >= value ? T{0} : old + 1)
CUDA_EMULATOR_ATOMIC(atomicDec, old == 0 || old > value ? value : old - 1)
#undef CUDA_EMULATOR_ATOMIC
template <class T>
__forceinline__ T atomicExch(T* address, std::type_identity_t<T> value) {
  return cuda_emulator::atomic_update(address, [value](T) { return value; });
}
template <class T>
__forceinline__ T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  return cuda_emulator::atomic_update(address, [=](T old) { return old == expected ? value : old; });
}

// Loads and stores with hints to the caches, as plain ones.
template <class T>
__forceinline__ T __ldg(const T* address) {
  return *address;
}
template <class T>
__forceinline__ T __ldca(const T* address) {
  return *address;
}
template <class T>
__forceinline__ T __ldcg(const T* address) {
  return *address;
}
template <class T>
__forceinline__ T __ldcs(const T* address) {
  return *address;
}
template <class T>
__forceinline__ void __stcg(T* address, std::type_identity_t<T> value) {
  *address = value;
}
template <class T>
__forceinline__ void __stcs(T* address, std::type_identity_t<T> value) {
  *address = value;
}

// Arithmetic and bits. The C library declares __expf and __logf for itself, hence the extern "C".
extern "C" {
inline float __expf(float x) noexcept { return ::expf(x); }
inline float __logf(float x) noexcept { return ::logf(x); }
}
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return ::fmaf(a, b, c); }
inline float __fsqrt_rn(float x) { return ::sqrtf(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fdividef(float a, float b) { return a / b; }
inline float rsqrtf(float x) { return 1.0f / ::sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / ::sqrt(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((std::uint64_t{a} * b) >> 32); }

// Of two floating-point numbers of which one is NaN: the other.
template <class A, class B>
requires(std::is_arithmetic_v<A>&& std::is_arithmetic_v<B>) constexpr auto min(A a, B b) {
  using T = std::common_type_t<A, B>;
  const T x = static_cast<T>(a), y = static_cast<T>(b);
  return y < x || x != x ? y : x;
}
template <class A, class B>
requires(std::is_arithmetic_v<A>&& std::is_arithmetic_v<B>) constexpr auto max(A a, B b) {
  using T = std::common_type_t<A, B>;
  const T x = static_cast<T>(a), y = static_cast<T>(b);
  return x < y || x != x ? y : x;
}
