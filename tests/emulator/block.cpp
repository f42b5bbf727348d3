#include "block.h"

#include <cuda_emulator.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdio>
#include <string_view>
#include <utility>

#include "race.h"

thread_local constinit uint3 threadIdx{};
thread_local constinit uint3 blockIdx{};
thread_local constinit dim3 blockDim{};
thread_local constinit dim3 gridDim{};

namespace cuda_emulator {
namespace {

thread_local constinit Block* running_block = nullptr;

std::string triple(const uint3& index) {
  return "(" + std::to_string(index.x) + "," + std::to_string(index.y) + "," + std::to_string(index.z) + ")";
}

std::string hex(unsigned mask) {
  char text[16];
  std::snprintf(text, sizeof(text), "0x%08x", mask);
  return text;
}

bool same(const Site& a, const Site& b) {
  return std::string_view(a.operation) == b.operation && a.place.line() == b.place.line() &&
         std::string_view(a.place.file_name()) == b.place.file_name();
}

unsigned combine(WarpOperation operation, unsigned a, unsigned b) {
  switch (operation) {
    case WarpOperation::add: return a + b;
    case WarpOperation::min: return std::min(a, b);
    case WarpOperation::max: return std::max(a, b);
    case WarpOperation::bit_and: return a & b;
    case WarpOperation::bit_or: return a | b;
    case WarpOperation::bit_xor: return a ^ b;
    default: return 0;
  }
}

}  // namespace

std::string to_string(const Site& site) {
  std::string_view file = site.place.file_name();
  file.remove_prefix(file.rfind('/') + 1);
  return std::string(site.operation) + " at " + std::string(file) + ":" + std::to_string(site.place.line());
}

Block* Block::running() { return running_block; }

void Block::run(const Launch& launch, std::uint64_t number, bool reverse) {
  struct Running {
    explicit Running(Block* block) { running_block = block; }
    ~Running() { running_block = nullptr; }
  } running(this);
  start(launch, number);
  const int warps = static_cast<int>(warps_.size());
  while (live_ > 0) {
    for (int i = 0; i < warps; ++i) run_warp(reverse ? warps - 1 - i : i, reverse);
    check_banks();
    if (live_ > 0) release_barrier();
  }
  if (const char* variable = shared_.overrun()) {
    abandon(std::string(launch.kernel) + " block " + triple(blockIdx) + ": a write outside shared memory, beside " +
            variable);
  }
}

void Block::start(const Launch& launch, std::uint64_t number) {
  launch_ = &launch;
  count_ = live_ = static_cast<int>(launch.threads());
  gridDim = launch.grid;
  blockDim = launch.block;
  blockIdx = {static_cast<unsigned>(number % gridDim.x), static_cast<unsigned>(number / gridDim.x % gridDim.y),
              static_cast<unsigned>(number / gridDim.x / gridDim.y)};
  threads_.resize(static_cast<std::size_t>(count_));
  uint3 index{0, 0, 0};
  for (Thread& thread : threads_) {
    thread.fiber = nullptr;
    thread.index = index;
    if (++index.x < blockDim.x) continue;
    index.x = 0;
    if (++index.y < blockDim.y) continue;
    index.y = 0;
    ++index.z;
  }
  warps_.resize(static_cast<std::size_t>(count_ + 31) / 32);
  for (std::size_t w = 0; w < warps_.size(); ++w) {
    const int lanes = std::min(count_ - static_cast<int>(w) * 32, 32);
    Warp& warp = warps_[w];
    warp.live = warp.runnable = lanes == 32 ? ~0u : (1u << lanes) - 1;
    warp.at_barrier = 0;
    warp.exchanges.clear();
  }
  shared_.clear();
  race::block_starts(number, count_, launch.early, shared_.begin(), shared_.end());
}

void Block::run_warp(int number, bool reverse) {
  Warp& warp = warps_[static_cast<std::size_t>(number)];
  while (warp.runnable != 0) {
    for (unsigned lanes = warp.runnable; lanes != 0;) {
      const int lane = reverse ? 31 - std::countl_zero(lanes) : std::countr_zero(lanes);
      lanes &= ~(1u << lane);
      resume(number * 32 + lane);
    }
  }
}

void Block::resume(int number) {
  Thread& thread = threads_[static_cast<std::size_t>(number)];
  if (thread.fiber == nullptr) thread.fiber = take_fiber();
  current_ = number;
  threadIdx = thread.index;
  race::thread_resumes(number, *thread.fiber);
  thread.fiber->resume();
  if (!error_.empty()) abandon(error_);
}

Fiber* Block::take_fiber() {
  if (idle_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>(thread_main, this));
    idle_.push_back(fibers_.back().get());
  }
  Fiber* fiber = idle_.back();
  idle_.pop_back();
  return fiber;
}

void Block::thread_main(void* self) {
  auto* block = static_cast<Block*>(self);
  for (;;) {
    block->launch_->thread();
    Fiber* fiber = block->threads_[static_cast<std::size_t>(block->current_)].fiber;
    block->lane_exits();
    block->idle_.push_back(fiber);
    fiber->suspend();
  }
}

void Block::lane_exits() {
  --live_;
  const int number = current_ / 32;
  Warp& warp = warps_[static_cast<std::size_t>(number)];
  const unsigned lane = 1u << (current_ % 32);
  warp.live &= ~lane;
  warp.runnable &= ~lane;
  // Nobody waits for a lane that has returned.
  for (std::size_t i = 0; i < warp.exchanges.size();) {
    if ((warp.exchanges[i].mask & warp.live) == warp.exchanges[i].arrived) {
      finish_exchange(number, i);
    } else {
      ++i;
    }
  }
}

int Block::barrier(Vote vote, bool predicate, const Site& site) {
  Thread& thread = threads_[static_cast<std::size_t>(current_)];
  thread.site = site;
  thread.vote = vote;
  thread.predicate = predicate;
  Warp& warp = warps_[static_cast<std::size_t>(current_ / 32)];
  const unsigned lane = 1u << (current_ % 32);
  warp.runnable &= ~lane;
  warp.at_barrier |= lane;
  thread.fiber->suspend();
  return thread.predicate;
}

void Block::release_barrier() {
  int waiting = 0, yes = 0, first = -1;
  for (int i = 0; i < count_; ++i) {
    const Thread& thread = threads_[static_cast<std::size_t>(i)];
    if ((warps_[static_cast<std::size_t>(i / 32)].at_barrier >> (i % 32) & 1) == 0) continue;
    ++waiting;
    yes += thread.predicate;
    if (first < 0) first = i;
    const Site& site = threads_[static_cast<std::size_t>(first)].site;
    if (!same(thread.site, site)) {
      abandon(name(first) + " waits in " + to_string(site) + " but thread " + triple(thread.index) + " in " +
              to_string(thread.site));
    }
  }
  if (waiting < live_) abandon(deadlock());
  if (waiting < count_) {
    abandon(name(first) + " waits in " + to_string(threads_[static_cast<std::size_t>(first)].site) + " but " +
            std::to_string(count_ - waiting) + " threads of the block have returned");
  }
  for (Thread& thread : threads_) {
    switch (thread.vote) {
      case Vote::none: break;
      case Vote::count: thread.predicate = yes; break;
      case Vote::all: thread.predicate = yes == count_; break;
      case Vote::any: thread.predicate = yes > 0; break;
    }
  }
  for (Warp& warp : warps_) {
    warp.runnable = warp.at_barrier;
    warp.at_barrier = 0;
  }
  race::barrier();
}

void Block::check_banks() {
  const std::string conflict = race::bank_conflict();
  if (!conflict.empty()) abandon(std::string(launch_->kernel) + " block " + triple(blockIdx) + ": " + conflict);
}

std::string Block::deadlock() const {
  for (std::size_t w = 0; w < warps_.size(); ++w) {
    if (warps_[w].exchanges.empty()) continue;
    const Exchange& exchange = warps_[w].exchanges.front();
    const unsigned missing = exchange.mask & warps_[w].live & ~exchange.arrived;
    const std::size_t other = w * 32 + static_cast<std::size_t>(std::countr_zero(missing));
    return name(static_cast<int>(w) * 32 + std::countr_zero(exchange.arrived)) + " waits in " +
           to_string(exchange.site) + " for lanes " + hex(missing) + " of mask " + hex(exchange.mask) + "; thread " +
           triple(threads_[other].index) + " waits in " + to_string(threads_[other].site);
  }
  return "deadlock";
}

std::uint64_t Block::exchange(WarpOperation operation, unsigned mask, std::uint64_t value, unsigned source,
                              const Site& site) {
  const int number = current_ / 32;
  const auto lane = static_cast<std::size_t>(current_ % 32);
  Warp& warp = warps_[static_cast<std::size_t>(number)];
  Thread& thread = threads_[static_cast<std::size_t>(current_)];
  if ((mask >> lane & 1) == 0) fail(to_string(site) + ": the lane is not in its own mask " + hex(mask));
  thread.site = site;
  warp.value[lane] = value;
  warp.source[lane] = source % 32;
  std::size_t i = 0;
  while (i < warp.exchanges.size() && warp.exchanges[i].mask != mask) ++i;
  if (i == warp.exchanges.size()) warp.exchanges.push_back({mask, 0, operation, site});
  if (!same(warp.exchanges[i].site, site)) {
    fail(to_string(site) + ": other lanes of mask " + hex(mask) + " wait in " + to_string(warp.exchanges[i].site));
  }
  warp.exchanges[i].arrived |= 1u << lane;
  if (warp.exchanges[i].arrived == (mask & warp.live)) {
    finish_exchange(number, i);
    if (!error_.empty()) stop();
  } else {
    warp.runnable &= ~(1u << lane);
    thread.fiber->suspend();
  }
  return warp.result[lane];
}

void Block::finish_exchange(int number, std::size_t i) {
  Warp& warp = warps_[static_cast<std::size_t>(number)];
  const Exchange done = warp.exchanges[i];
  warp.exchanges[i] = warp.exchanges.back();
  warp.exchanges.pop_back();
  warp.runnable |= done.arrived;
  if (done.operation == WarpOperation::sync) {
    race::warp_barrier(number, done.arrived);
    return;
  }
  bool first = true;
  std::uint64_t all = 0;  // what the lanes get but for a shuffle
  for (std::size_t lane = 0; lane < 32; ++lane) {
    if ((done.arrived >> lane & 1) == 0) continue;
    const std::uint64_t value = warp.value[lane];
    if (done.operation == WarpOperation::ballot) {
      all |= (value & 1) << lane;
    } else {
      all = first ? value : combine(done.operation, static_cast<unsigned>(all), static_cast<unsigned>(value));
    }
    first = false;
  }
  for (std::size_t lane = 0; lane < 32; ++lane) {
    if ((done.arrived >> lane & 1) == 0) continue;
    warp.result[lane] = done.operation == WarpOperation::shuffle ? warp.value[warp.source[lane]] : all;
    if (done.operation == WarpOperation::shuffle && (done.arrived >> warp.source[lane] & 1) == 0) {
      error_ = name(number * 32 + static_cast<int>(lane)) + ": " + to_string(done.site) + " reads lane " +
               std::to_string(warp.source[lane]) + ", which takes no part (mask " + hex(done.mask) + ", present " +
               hex(done.arrived) + ")";
    }
  }
}

void* Block::shared_variable(const void* key, std::size_t bytes, std::size_t alignment, const char* variable) {
  void* memory = shared_.variable(key, bytes, alignment, variable);
  if (memory == nullptr) fail(std::string("more than 48 KiB of static shared memory with ") + variable);
  return memory;
}

void Block::fail(std::string what) {
  error_ = name(current_) + ": " + std::exchange(what, {});
  stop();
}

// The fiber's stack is given up as it stands: what it still owns on the heap would be lost.
void Block::stop() {
  Fiber* fiber = threads_[static_cast<std::size_t>(current_)].fiber;
  for (;;) fiber->suspend();
}

// On the OS thread's own stack.
void Block::abandon(const std::string& what) {
  const std::string message = "[cuda_emulator] " + what;
  error_.clear();
  idle_.clear();
  for (const auto& fiber : fibers_) {
    fiber->restart();
    idle_.push_back(fiber.get());
  }
  throw Error(message);
}

std::string Block::name(int thread) const {
  return std::string(launch_->kernel) + " block " + triple(blockIdx) + " thread " +
         triple(threads_[static_cast<std::size_t>(thread)].index);
}

// What kernels call.

int block_barrier(Vote vote, bool predicate, Site site) { return running_block->barrier(vote, predicate, site); }

std::uint64_t warp_exchange(WarpOperation operation, unsigned mask, std::uint64_t value, unsigned source, Site site) {
  return running_block->exchange(operation, mask, value, source, site);
}

void fence(bool beyond_block) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (beyond_block) race::fence();
}

void wait_for_earlier_kernels() { race::earlier_kernels_ended(); }

void trap(Site site) { running_block->fail(to_string(site)); }

void* shared_variable(const void* key, std::size_t bytes, std::size_t alignment, const char* name) {
  return running_block->shared_variable(key, bytes, alignment, name);
}

}  // namespace cuda_emulator
