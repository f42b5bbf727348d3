#include "kernels/memory.h"

#include "kernels/cuda/check.h"
#include "kernels/cuda/context.h"

namespace nepenthe::kernels {

void* allocate(CudaExec&, std::size_t bytes) {
  void* memory = nullptr;
  NEPENTHE_CHECK(cudaMalloc(&memory, bytes));
  return memory;
}

void release(CudaExec& exec, void* memory) noexcept {
  cudaStreamSynchronize(exec.context().stream);  // what was issued may still use it
  cudaFree(memory);
}

void copy_to_device(CudaExec& exec, void* device, const void* host, std::size_t bytes) {
  if (bytes == 0) return;
  // From pageable memory the call returns when the bytes are on their way in a buffer of the driver's.
  NEPENTHE_CHECK(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, exec.context().stream));
}

void copy_to_host(CudaExec& exec, void* host, const void* device, std::size_t bytes) {
  if (bytes != 0) {
    NEPENTHE_CHECK(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, exec.context().stream));
  }
  synchronize(exec);
}

void synchronize(CudaExec& exec) { NEPENTHE_CHECK(cudaStreamSynchronize(exec.context().stream)); }

MemoryUse memory_use(CudaExec& exec) {
  std::size_t available = 0, total = 0;
  NEPENTHE_CHECK(cudaMemGetInfo(&available, &total));
  return {.available = available, .workspace = exec.context().workspace_bytes()};
}

}  // namespace nepenthe::kernels
