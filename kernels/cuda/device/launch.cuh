// How kernels are launched and shared memory is declared: the same source under nvcc and under the emulator of
// tests/emulator, which runs it on the CPU.
//
//   NEPENTHE_LAUNCH((kernel<float, 4>), grid, block, dynamic_shared_bytes, stream, arguments…);
//   NEPENTHE_SHARED(float, tile, [32][33]);       a static shared array `tile`
//
// For kernels that both can run: *_sync intrinsics with explicit masks; every thread reaches every barrier; atomics
// only by atomicX; no early return before a barrier; PTX only under __CUDA_ARCH__ and beside a C++ twin.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <type_traits>
#include <utility>

#include "kernels/cuda/check.h"

#if defined(NEPENTHE_EMULATED)

#include <cuda_emulator.h>

#define NEPENTHE_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  ::cuda_emulator::launch(#kernel, kernel, grid, block, shared_bytes, stream, __VA_ARGS__)
#define NEPENTHE_SHARED(T, name, ...) CUDA_EMULATOR_SHARED(T, name, __VA_ARGS__)

#else

namespace nepenthe::kernels {

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
            cudaStream_t stream, Arguments&&... arguments) {
  // clang-format off
  kernel<<<grid, block, shared_bytes, stream>>>(static_cast<std::decay_t<Parameters>>(arguments)...);
  // clang-format on
  check(cudaGetLastError(), name, __FILE__, __LINE__);
}

}  // namespace nepenthe::kernels

#define NEPENTHE_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  ::nepenthe::kernels::launch(#kernel, kernel, grid, block, shared_bytes, stream, __VA_ARGS__)
#define NEPENTHE_SHARED(T, name, ...) __shared__ T name __VA_ARGS__

#endif
