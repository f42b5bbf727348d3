// Device memory: one region that nobody may touch but while a kernel, a copy or a library's work runs.
#pragma once

#include <cstddef>

namespace cuda_emulator {

struct Allocation {
  char* begin;
  std::size_t bytes;  // asked for
  std::size_t span;   // to the next page and one page more, not to be touched
};

/// While one lives, device memory is accessible to the process. They may be nested.
class DeviceMemoryAccess {
 public:
  DeviceMemoryAccess();
  ~DeviceMemoryAccess();
  DeviceMemoryAccess(const DeviceMemoryAccess&) = delete;
  DeviceMemoryAccess& operator=(const DeviceMemoryAccess&) = delete;
};

/// New memory, filled with 0xFF, aligned to a page; nullptr over the limit.
void* allocate_device_memory(std::size_t bytes);
/// False for an address that is not an allocation's.
bool free_device_memory(void* begin);
/// The allocation with `address` in its span, or nullptr.
const Allocation* find_device_memory(const void* address);
/// Bytes of all allocations, in whole pages.
std::size_t device_memory_in_use();

}  // namespace cuda_emulator
