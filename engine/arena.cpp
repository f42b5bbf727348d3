#include "engine/arena.h"

#include <algorithm>
#include <iterator>

namespace nepenthe {
namespace {

constexpr std::size_t alignment = 512;
constexpr std::size_t smallest_chunk = std::size_t{32} << 20;

std::size_t rounded_up(std::size_t bytes, std::size_t unit) { return std::max(unit, (bytes + unit - 1) / unit * unit); }

}  // namespace

Arena::Arena(AllocateChunk allocate, ReleaseChunk release)
    : allocate_chunk_(std::move(allocate)), release_chunk_(std::move(release)) {}

Arena::~Arena() {
  for (void* chunk : chunks_) release_chunk_(chunk);
}

void Arena::add_chunk(std::size_t at_least) {
  const std::size_t size = rounded_up(at_least, smallest_chunk);
  chunks_.reserve(chunks_.size() + 1);
  auto* address = static_cast<Address>(allocate_chunk_(size));
  chunks_.push_back(address);
  reserved_ += size;
  blocks_[address] = {.size = size, .free = true, .first_of_chunk = true};
  free_.emplace(size, address);
}

std::shared_ptr<void> Arena::allocate(std::size_t bytes) {
  const std::size_t size = rounded_up(bytes, alignment);
  auto fit = free_.lower_bound({size, nullptr});
  if (fit == free_.end()) {
    add_chunk(size);
    fit = free_.lower_bound({size, nullptr});
  }
  const auto [found, address] = *fit;
  free_.erase(fit);
  Block& block = blocks_.at(address);
  block.free = false;
  if (found > size) {
    blocks_[address + size] = {.size = found - size, .free = true, .first_of_chunk = false};
    free_.emplace(found - size, address + size);
    block.size = size;
  }
  used_ += size;
  peak_ = std::max(peak_, used_);
  return {address, [this](void* memory) { give_back(static_cast<Address>(memory)); }};
}

void Arena::give_back(Address address) {
  auto block = blocks_.find(address);
  used_ -= block->second.size;
  block->second.free = true;
  const auto join_with_next = [&](auto left) {
    const auto right = std::next(left);
    if (right == blocks_.end() || !right->second.free || right->second.first_of_chunk) return;
    free_.erase({right->second.size, right->first});
    left->second.size += right->second.size;
    blocks_.erase(right);
  };
  join_with_next(block);
  if (block != blocks_.begin() && !block->second.first_of_chunk && std::prev(block)->second.free) {
    block = std::prev(block);
    free_.erase({block->second.size, block->first});
    join_with_next(block);
  }
  free_.emplace(block->second.size, block->first);
}

}  // namespace nepenthe
