#include "device_memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <new>

#include "asan.h"
#include "race.h"
#include "settings.h"

namespace cuda_emulator {
namespace {

constexpr std::size_t page = 4096;
constexpr std::size_t huge_page = 2 * 1024 * 1024;
constexpr std::size_t region_bytes = std::size_t{64} << 30;  // of addresses
constexpr int accessible = PROT_READ | PROT_WRITE;

/// One region, for its protection is changed at every launch: by one call, and many times faster on huge pages.
class Region {
 public:
  Region() {
    void* mapping = mmap(nullptr, region_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) throw std::bad_alloc();
    end_ = static_cast<char*>(mapping) + region_bytes;
    const auto address = reinterpret_cast<std::uintptr_t>(mapping);
    begin_ = top_ = static_cast<char*>(mapping) + (huge_page - address % huge_page);
    madvise(begin_, static_cast<std::size_t>(end_ - begin_), MADV_HUGEPAGE);
  }

  void open() {
    if (accesses++ == 0) protect(accessible);
  }
  void close() {
    if (--accesses == 0) protect(PROT_NONE);
  }

  char* allocate(std::size_t bytes) {
    const std::size_t limit = settings::memory_bytes();
    if (bytes > limit) return nullptr;
    const std::size_t pages = (bytes + page - 1) / page * page, span = pages + page;
    if (in_use + pages > limit) return nullptr;
    char* begin = begin_;
    for (const auto& [key, allocation] : allocations) {
      if (allocation.begin - begin >= static_cast<std::ptrdiff_t>(span)) break;
      begin = allocation.begin + allocation.span;
    }
    if (end_ - begin < static_cast<std::ptrdiff_t>(span + huge_page)) return nullptr;
    if (begin + span > top_) {
      char* const old = top_;
      top_ = begin_ + (static_cast<std::size_t>(begin + span - begin_) + huge_page - 1) / huge_page * huge_page;
      ASAN_POISON_MEMORY_REGION(old, static_cast<std::size_t>(top_ - old));
      if (accesses > 0) protect(accessible);
    }
    open();
    ASAN_UNPOISON_MEMORY_REGION(begin, bytes);
    std::memset(begin, 0xFF, bytes);
    ASAN_POISON_MEMORY_REGION(begin + bytes, span - bytes);
    close();
    allocations[begin] = {begin, bytes, span};
    in_use += pages;
    return begin;
  }

  bool free(char* begin) {
    const auto found = allocations.find(begin);
    if (found == allocations.end()) return false;
    const Allocation& allocation = found->second;
    race::memory_freed(begin);
    open();
    std::memset(begin, 0xFF, allocation.bytes);
    ASAN_POISON_MEMORY_REGION(begin, allocation.span);
    close();
    in_use -= allocation.span - page;
    allocations.erase(found);
    return true;
  }

  std::mutex mutex;
  std::map<const char*, Allocation> allocations;  // by begin
  std::size_t in_use = 0;
  int accesses = 0;

 private:
  void protect(int protection) { mprotect(begin_, static_cast<std::size_t>(top_ - begin_), protection); }

  char *begin_, *end_;
  char* top_;  // no allocation was ever beyond; whole huge pages
};

Region& region() {
  static Region region;
  return region;
}

}  // namespace

DeviceMemoryAccess::DeviceMemoryAccess() {
  const std::lock_guard lock(region().mutex);
  region().open();
}

DeviceMemoryAccess::~DeviceMemoryAccess() {
  const std::lock_guard lock(region().mutex);
  region().close();
}

void* allocate_device_memory(std::size_t bytes) {
  const std::lock_guard lock(region().mutex);
  return region().allocate(bytes);
}

bool free_device_memory(void* begin) {
  const std::lock_guard lock(region().mutex);
  return region().free(static_cast<char*>(begin));
}

const Allocation* find_device_memory(const void* address) {
  const std::lock_guard lock(region().mutex);
  auto next = region().allocations.upper_bound(static_cast<const char*>(address));
  if (next == region().allocations.begin()) return nullptr;
  const Allocation& allocation = (--next)->second;
  return static_cast<const char*>(address) < allocation.begin + allocation.span ? &allocation : nullptr;
}

std::size_t device_memory_in_use() {
  const std::lock_guard lock(region().mutex);
  return region().in_use;
}

}  // namespace cuda_emulator
