// How kernels are launched and shared memory is declared: the same source under nvcc and under the emulator of
// tests/emulator, which runs it on the CPU.
//
//   NEPENTHE_LAUNCH((kernel<float, 4>), grid, block, dynamic_shared_bytes, stream, arguments…);
//   NEPENTHE_SHARED(float, tile, [32][33]);       a static shared array `tile`
//
// For kernels that both can run: *_sync intrinsics with explicit masks; every thread reaches every barrier; atomics
// only by atomicX; no early return before a barrier; PTX only under __CUDA_ARCH__ and beside a C++ twin.
//
// A kernel may begin before the ones before it in its stream have ended (programmatic dependent launch, sm_90 and
// later), so that its blocks are in place when they do. Hence the first thing every kernel does is
// wait_for_earlier_kernels(): before it no thread touches global memory. Kernels that read what an earlier one but one
// has written are safe as well, since that one has ended before its successor could.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <type_traits>
#include <utility>

#include "kernels/cuda/check.h"

#if defined(NEPENTHE_EMULATED)

#include <cuda_emulator.h>

#define NEPENTHE_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  ::cuda_emulator::launch_early(#kernel, kernel, grid, block, shared_bytes, stream, __VA_ARGS__)
#define NEPENTHE_SHARED(T, name, ...) CUDA_EMULATOR_SHARED(T, name, __VA_ARGS__)

namespace nepenthe::kernels {
inline void wait_for_earlier_kernels() { ::cuda_emulator::wait_for_earlier_kernels(); }
}  // namespace nepenthe::kernels

#else

namespace nepenthe::kernels {

/// Also lets the next kernel begin, as soon as all blocks of this one are in place.
__device__ inline void wait_for_earlier_kernels() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;\n\tgriddepcontrol.wait;" ::: "memory");
#endif
}

/// Whether the GPU in use can begin a kernel early.
inline bool begins_early() {
  static const bool answer = [] {
    int device = 0, major = 0;
    NEPENTHE_CHECK(cudaGetDevice(&device));
    NEPENTHE_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
    return major >= 9;
  }();
  return answer;
}

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
            cudaStream_t stream, Arguments&&... arguments) {
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = begins_early() ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<std::decay_t<Parameters> >(arguments)...), name, __FILE__,
        __LINE__);
}

}  // namespace nepenthe::kernels

#define NEPENTHE_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  ::nepenthe::kernels::launch(#kernel, kernel, grid, block, shared_bytes, stream, __VA_ARGS__)
#define NEPENTHE_SHARED(T, name, ...) __shared__ T name __VA_ARGS__

#endif
