// Shared memory of one block at a time: variables with gaps between them that show writes out of bounds.
#pragma once

#include <cstddef>
#include <vector>

namespace cuda_emulator {

class SharedMemory {
 public:
  static constexpr std::size_t limit = 48 * 1024;  // of all static variables, in bytes

  SharedMemory();
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  /// Forgets all variables.
  void clear();
  /// The variable of `key`, made and filled with 0xFF where there is none; nullptr over the limit.
  void* variable(const void* key, std::size_t bytes, std::size_t alignment, const char* name);
  /// The name of a variable beside which something was written, else nullptr. AddressSanitizer sees it by itself.
  const char* overrun();

  const char* begin() const { return memory_; }
  const char* end() const;

 private:
  struct Variable {
    const void* key;
    char* begin;
    std::size_t bytes;
    const char* name;
  };

  char* memory_;
  std::size_t used_ = 0;
  std::size_t taken_ = 0;  // by variables alone
  std::vector<Variable> variables_;
};

}  // namespace cuda_emulator
