// Numbers that tell objects apart for good.
#pragma once

#include <atomic>
#include <cstdint>

namespace nepenthe {

/// A member that numbers its object. No two objects of a program have the same number, also not one after the other in
/// the same place, where their addresses are the same. A copy has a number of its own, and what is assigned to gets a
/// new one.
class Serial {
 public:
  Serial() = default;
  Serial(const Serial&) {}
  Serial& operator=(const Serial&) {
    number_ = next_++;
    return *this;
  }
  std::uint64_t number() const { return number_; }

 private:
  static inline std::atomic<std::uint64_t> next_ = 1;
  std::uint64_t number_ = next_++;
};

}  // namespace nepenthe
