// A caching arena of device memory: blocks are cut best-fit from large chunks, joined again when freed, and never given
// back, so that a training step allocates nothing after the first.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

namespace nepenthe {

class Arena {
 public:
  using AllocateChunk = std::function<void*(std::size_t bytes)>;
  using ReleaseChunk = std::function<void(void*)>;

  Arena(AllocateChunk allocate, ReleaseChunk release);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// `bytes` of memory aligned to 512 bytes, contents undefined; back in the arena when the last owner lets go, which
  /// must be before the arena ends. Throws what the chunk allocator throws.
  std::shared_ptr<void> allocate(std::size_t bytes);

  /// Bytes in blocks handed out now, the most there ever were, bytes taken from the backend, and how often.
  std::size_t used_bytes() const { return used_; }
  std::size_t peak_bytes() const { return peak_; }
  std::size_t reserved_bytes() const { return reserved_; }
  /// The peak counts anew from what is handed out now.
  void restart_peak() { peak_ = used_; }
  int chunk_count() const { return static_cast<int>(chunks_.size()); }

 private:
  struct Block {
    std::size_t size;
    bool free;
    bool first_of_chunk;
  };
  using Address = std::byte*;

  void give_back(Address address);
  void add_chunk(std::size_t at_least);

  AllocateChunk allocate_chunk_;
  ReleaseChunk release_chunk_;
  std::vector<void*> chunks_;
  std::map<Address, Block> blocks_;                 // all of them, so that neighbours are found
  std::set<std::pair<std::size_t, Address>> free_;  // by size, then address: best fit
  std::size_t used_ = 0, peak_ = 0, reserved_ = 0;
};

}  // namespace nepenthe
