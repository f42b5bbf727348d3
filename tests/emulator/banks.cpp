#include "banks.h"

#include <algorithm>
#include <set>

namespace cuda_emulator {
namespace {

constexpr unsigned banks = 32, word_bytes = 4;

}  // namespace

void BankTraffic::note(unsigned thread, std::uint32_t place, const void* address, unsigned bytes) {
  const auto begin = reinterpret_cast<std::uintptr_t>(address);
  const unsigned lane = thread % 32;
  Accesses& accesses = accesses_[{place, thread / 32}];
  const std::size_t round = accesses.made[lane]++;
  if (accesses.rounds.size() <= round) accesses.rounds.resize(round + 1);
  accesses.rounds[round].push_back({lane, begin / word_bytes, (begin + bytes - 1) / word_bytes});
}

/// Lanes that read 8 or 16 bytes take turns, so many at once as there are banks for.
BankTraffic::Conflict BankTraffic::count(const std::vector<Word>& access) {
  std::size_t widest = 1;
  for (const Word& word : access) widest = std::max<std::size_t>(widest, word.last - word.first + 1);
  const unsigned at_once = banks / static_cast<unsigned>(widest);
  std::map<unsigned, std::array<std::set<std::uintptr_t>, banks>> turns;
  for (const Word& word : access) {
    for (std::uintptr_t i = word.first; i <= word.last; ++i) turns[word.lane / at_once][i % banks].insert(i);
  }
  Conflict counted{.place = 0, .wavefronts = 0, .needed = static_cast<unsigned>(turns.size())};
  for (const auto& [turn, by_bank] : turns) {
    std::size_t most = 0;
    for (const auto& words : by_bank) most = std::max(most, words.size());
    counted.wavefronts += static_cast<unsigned>(most);
  }
  return counted;
}

std::optional<BankTraffic::Conflict> BankTraffic::take() {
  std::optional<Conflict> found;
  for (const auto& [place_and_warp, accesses] : accesses_) {
    for (const auto& access : accesses.rounds) {
      Conflict counted = count(access);
      counted.place = place_and_warp.first;
      if (!found && counted.wavefronts > counted.needed) found = counted;
    }
  }
  accesses_.clear();
  return found;
}

}  // namespace cuda_emulator
