// Launching kernels in the emulator.
#pragma once

#include <cuda_emulator_host.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace cuda_emulator {

/// Enqueues grid × block threads that each call `thread`. `early`: as programmatic stream serialization allows, the
/// kernel may begin before earlier ones have ended. Throws Error for shapes that no device takes.
void launch(const char* name, bool early, dim3 grid, dim3 block, std::size_t dynamic_shared_bytes, cudaStream_t stream,
            std::function<void()> thread);

/// A thread of the kernel with its arguments, which are copied.
template <class... Parameters, class... Arguments>
std::function<void()> bound(void (*kernel)(Parameters...), Arguments&&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments), "a kernel takes all its arguments");
  using Copies = std::tuple<std::decay_t<Parameters>...>;
  return [kernel, copies = Copies(static_cast<std::decay_t<Parameters>>(std::forward<Arguments>(arguments))...)] {
    std::apply(kernel, copies);
  };
}

/// Enqueues kernel<<<grid, block, dynamic_shared_bytes, stream>>>(arguments…). There is no dynamic shared memory:
/// dynamic_shared_bytes must be 0.
template <class Kernel, class... Arguments>
void launch(const char* name, Kernel kernel, dim3 grid, dim3 block, std::size_t dynamic_shared_bytes,
            cudaStream_t stream, Arguments&&... arguments) {
  launch(name, false, grid, block, dynamic_shared_bytes, stream, bound(kernel, std::forward<Arguments>(arguments)...));
}

/// The same with programmatic stream serialization allowed: before it touches global memory each thread has to call
/// wait_for_earlier_kernels(), which the race checker sees to.
template <class Kernel, class... Arguments>
void launch_early(const char* name, Kernel kernel, dim3 grid, dim3 block, std::size_t dynamic_shared_bytes,
                  cudaStream_t stream, Arguments&&... arguments) {
  launch(name, true, grid, block, dynamic_shared_bytes, stream, bound(kernel, std::forward<Arguments>(arguments)...));
}

/// The block's variable for `key`, made by the first thread that asks. Over 48 KiB in all the kernel fails.
void* shared_variable(const void* key, std::size_t bytes, std::size_t alignment, const char* name);

}  // namespace cuda_emulator

/// Declares the static shared array `name`, as in CUDA_EMULATOR_SHARED(float, tile, [32][33]).
#define CUDA_EMULATOR_SHARED(T, name, ...)                                         \
  static char name##_key;                                                          \
  using name##_type = T __VA_ARGS__;                                               \
  name##_type& name = *static_cast<name##_type*>(::cuda_emulator::shared_variable( \
      &name##_key, sizeof(name##_type), alignof(name##_type) > 16 ? alignof(name##_type) : 16, #name))
