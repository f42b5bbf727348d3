// A backend's memory: where tensors live, and the way in and out. On the CPU backend device memory is host memory.
#pragma once

#include <cstddef>

#include "kernels/exec_fwd.h"

namespace nepenthe::kernels {

/// `bytes` of device memory, aligned to 512 bytes, contents undefined. Throws std::bad_alloc.
void* allocate(CpuExec& exec, std::size_t bytes);
void* allocate(CudaExec& exec, std::size_t bytes);
void release(CpuExec& exec, void* memory) noexcept;
void release(CudaExec& exec, void* memory) noexcept;

/// Copies `bytes` after everything issued before; copy_to_host returns when the copy is done, copy_to_device when
/// `host` may change again.
void copy_to_device(CpuExec& exec, void* device, const void* host, std::size_t bytes);
void copy_to_device(CudaExec& exec, void* device, const void* host, std::size_t bytes);
void copy_to_host(CpuExec& exec, void* host, const void* device, std::size_t bytes);
void copy_to_host(CudaExec& exec, void* host, const void* device, std::size_t bytes);

/// Returns when everything issued is done. Throws std::runtime_error where a kernel failed.
void synchronize(CpuExec& exec);
void synchronize(CudaExec& exec);

/// Whether the host may look at results after every step: on the CPU nothing is pending then. A GPU would fall idle.
inline bool results_are_at_hand(const CpuExec&) { return true; }
inline bool results_are_at_hand(const CudaExec&) { return false; }

/// Bytes of device memory still to be had, and those taken for scratch memory. The CPU backend does not tell: 0.
struct MemoryUse {
  std::size_t available, workspace;
};
inline MemoryUse memory_use(CpuExec&) { return {0, 0}; }
MemoryUse memory_use(CudaExec& exec);

}  // namespace nepenthe::kernels
