// Vectorised access: V elements of fp32 or bf16 by one load or store, as fp32 in registers.
#pragma once

#include "kernels/bf16.h"
#include "kernels/cuda/device/launch.cuh"

namespace nepenthe::kernels {

/// V numbers in registers.
template <int V>
struct Floats {
  float v[V];
  __device__ float& operator[](int i) { return v[i]; }
  __device__ float operator[](int i) const { return v[i]; }
};

template <class T, int V>
struct alignas(sizeof(T) * V) Packed {
  T v[V];
};

/// The widest access is 16 bytes.
template <class T>
inline constexpr int widest = 16 / static_cast<int>(sizeof(T));

__device__ inline void from_float(float& to, float value) { to = value; }
__device__ inline void from_float(bf16& to, float value) {
#if defined(__CUDA_ARCH__)
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to.bits) : "f"(value));
#else
  to = to_bf16(value);
#endif
}

/// p is aligned to V·sizeof(T) bytes, here and below.
template <int V, class T>
__device__ Packed<T, V> load_packed(const T* p) {
  return *reinterpret_cast<const Packed<T, V>*>(p);
}

template <int V, class T>
__device__ Floats<V> load(const T* p) {
  const Packed<T, V> packed = load_packed<V>(p);
  Floats<V> values;
#pragma unroll
  for (int i = 0; i < V; ++i) values[i] = to_float(packed.v[i]);
  return values;
}

template <int V, class T>
__device__ void store(T* p, const Floats<V>& values) {
  Packed<T, V> packed;
#pragma unroll
  for (int i = 0; i < V; ++i) from_float(packed.v[i], values[i]);
  *reinterpret_cast<Packed<T, V>*>(p) = packed;
}

}  // namespace nepenthe::kernels
