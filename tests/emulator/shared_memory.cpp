#include "shared_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "asan.h"

namespace cuda_emulator {
namespace {

constexpr std::size_t arena_bytes = 128 * 1024;
constexpr std::size_t gap = 64;         // behind each variable, at least
constexpr std::size_t last_gap = 1024;  // behind the last one
constexpr std::size_t guard_bytes = 4096;
constexpr int untouched = 0xFD;

}  // namespace

SharedMemory::SharedMemory() {
  void* mapping = mmap(nullptr, arena_bytes + guard_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<char*>(mapping);
  mprotect(memory_ + arena_bytes, guard_bytes, PROT_NONE);
  std::memset(memory_, untouched, arena_bytes);
  ASAN_POISON_MEMORY_REGION(memory_, arena_bytes);
  variables_.reserve(64);
}

SharedMemory::~SharedMemory() {
  ASAN_UNPOISON_MEMORY_REGION(memory_, arena_bytes);
  munmap(memory_, arena_bytes + guard_bytes);
}

const char* SharedMemory::end() const { return memory_ + arena_bytes; }

void SharedMemory::clear() {
  for (const Variable& variable : variables_) {
    std::memset(variable.begin, untouched, variable.bytes);
    ASAN_POISON_MEMORY_REGION(variable.begin, variable.bytes);
  }
  variables_.clear();
  used_ = taken_ = 0;
}

void* SharedMemory::variable(const void* key, std::size_t bytes, std::size_t alignment, const char* name) {
  for (const Variable& variable : variables_) {
    if (variable.key == key) return variable.begin;
  }
  const std::size_t begin = (used_ + gap + alignment - 1) / alignment * alignment;
  if (taken_ + bytes > limit || begin + bytes + last_gap > arena_bytes) return nullptr;
  taken_ += bytes;
  used_ = begin + bytes;
  ASAN_UNPOISON_MEMORY_REGION(memory_ + begin, bytes);
  std::memset(memory_ + begin, 0xFF, bytes);
  variables_.push_back({key, memory_ + begin, bytes, name});
  return memory_ + begin;
}

const char* SharedMemory::overrun() {
#if !defined(__SANITIZE_ADDRESS__)
  const auto touched = [this](const char* from, const char* to) {
    while (from < to && *from == static_cast<char>(untouched)) ++from;
    if (from < to) std::memset(memory_, untouched, arena_bytes);
    return from < to;
  };
  const char* from = memory_;
  for (const Variable& variable : variables_) {
    if (touched(from, variable.begin)) return variable.name;
    from = variable.begin + variable.bytes;
  }
  if (!variables_.empty() && touched(from, from + last_gap)) return variables_.back().name;
#endif
  return nullptr;
}

}  // namespace cuda_emulator
