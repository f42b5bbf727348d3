// Shared memory's banks: a warp's access takes one wavefront for each of the different words that meet in one bank.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

namespace cuda_emulator {

/// What the warps of a block do to shared memory between two barriers. Lanes run one after another here: a lane's n-th
/// access from a place in the program is taken to be one with the other lanes' n-th from there.
class BankTraffic {
 public:
  /// `place` in the program; of 16 bytes at most.
  void note(unsigned thread, std::uint32_t place, const void* address, unsigned bytes);

  struct Conflict {
    std::uint32_t place;
    unsigned wavefronts, needed;
  };
  /// An access that took more wavefronts than its lanes' bytes need; forgets all.
  std::optional<Conflict> take();

 private:
  struct Word {
    unsigned lane;
    std::uintptr_t first, last;  // its 4-byte words
  };
  struct Accesses {
    std::array<std::size_t, 32> made{};     // by lane
    std::vector<std::vector<Word>> rounds;  // the lanes' first, second, …
  };
  static Conflict count(const std::vector<Word>& access);

  std::map<std::pair<std::uint32_t, unsigned>, Accesses> accesses_;  // by place and warp
};

}  // namespace cuda_emulator
