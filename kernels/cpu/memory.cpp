#include "kernels/memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

namespace nepenthe::kernels {

void* allocate(CpuExec&, std::size_t bytes) {
  // Huge pages keep a step's hundreds of megabytes out of the way of the TLB.
  constexpr std::size_t huge_page = std::size_t{2} << 20;
  const std::size_t alignment = bytes >= huge_page ? huge_page : 4096;
  const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, rounded);
  if (memory == nullptr) throw std::bad_alloc();
  if (alignment == huge_page) madvise(memory, rounded, MADV_HUGEPAGE);
  return memory;
}

void release(CpuExec&, void* memory) noexcept { std::free(memory); }

void copy_to_device(CpuExec&, void* device, const void* host, std::size_t bytes) {
  if (bytes != 0) std::memcpy(device, host, bytes);  // nothing may come from nowhere
}
void copy_to_host(CpuExec&, void* host, const void* device, std::size_t bytes) {
  if (bytes != 0) std::memcpy(host, device, bytes);
}
void synchronize(CpuExec&) {}

}  // namespace nepenthe::kernels
