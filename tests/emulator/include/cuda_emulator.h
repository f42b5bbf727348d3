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

/// Enqueues grid × block threads that each call `thread`. Throws Error for shapes that no device takes.
void launch(const char* name, dim3 grid, dim3 block, std::size_t dynamic_shared_bytes, cudaStream_t stream,
            std::function<void()> thread);

/// Enqueues kernel<<<grid, block, dynamic_shared_bytes, stream>>>(arguments…), the arguments copied. There is no
/// dynamic shared memory: dynamic_shared_bytes must be 0.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t dynamic_shared_bytes,
            cudaStream_t stream, Arguments&&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments), "a kernel takes all its arguments");
  using Copies = std::tuple<std::decay_t<Parameters>...>;
  launch(name, grid, block, dynamic_shared_bytes, stream,
         [kernel, copies = Copies(static_cast<std::decay_t<Parameters>>(std::forward<Arguments>(arguments))...)] {
           std::apply(kernel, copies);
         });
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
