// A backend's memory: where tensors live, and the way in and out. On the CPU backend device memory is host memory.
#pragma once

#include <cstddef>

#include "kernels/exec.h"

namespace nepenthe::kernels {

/// `bytes` of device memory, aligned to 4096 bytes, contents undefined. Throws std::bad_alloc.
void* allocate(CpuExec& exec, std::size_t bytes);
void release(CpuExec& exec, void* memory) noexcept;

/// Copies `bytes`; returns when the copy is done.
void copy_to_device(CpuExec& exec, void* device, const void* host, std::size_t bytes);
void copy_to_host(CpuExec& exec, void* host, const void* device, std::size_t bytes);

}  // namespace nepenthe::kernels
