#include "kernels/cpu/thread_team.h"

#include <fmt/core.h>
#include <immintrin.h>

#include <stdexcept>
#include <utility>

namespace nepenthe::kernels {
namespace {

constexpr std::uint32_t parts_mask = 0xFFFF;
constexpr int spins = 500;  // about ten microseconds: a kernel's serial part is shorter, waking a thread takes longer

/// Waits until `value` is no longer `old`: spinning at first, then asleep.
void await_change(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
  for (int i = 0; i < spins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    _mm_pause();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadTeam::ThreadTeam(int threads) {
  try {
    for (int thread = 1; thread < threads; ++thread) threads_.emplace_back([this, thread] { work(thread); });
  } catch (...) {
    end();
    throw std::runtime_error(
        fmt::format("[thread_team] the system gives no {} threads; fewer would be right", threads));
  }
}

ThreadTeam::~ThreadTeam() { end(); }

void ThreadTeam::end() {
  ending_ = true;
  todo_.fetch_add(parts_mask + 1);  // a call without parts
  todo_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadTeam::run(int parts, const Body& body) {
  if (parts <= 0) return;
  if (parts > static_cast<int>(parts_mask)) throw std::invalid_argument("[thread_team] more than 65535 parts");
  body_ = &body;
  parts_ = parts;
  unfinished_.store(static_cast<std::uint32_t>(parts), std::memory_order_relaxed);
  const std::uint32_t call = (todo_.load(std::memory_order_relaxed) | parts_mask) + 1;
  todo_.store(call | static_cast<std::uint32_t>(parts), std::memory_order_release);
  if (parts > 1 && !threads_.empty()) todo_.notify_all();
  work_off(0);
  for (std::uint32_t left = unfinished_.load(std::memory_order_acquire); left != 0;
       left = unfinished_.load(std::memory_order_acquire)) {
    await_change(unfinished_, left);
  }
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

std::uint32_t ThreadTeam::work_off(int thread) {
  std::uint32_t seen = todo_.load(std::memory_order_acquire);
  while ((seen & parts_mask) != 0) {
    if (!todo_.compare_exchange_weak(seen, seen - 1, std::memory_order_acq_rel)) continue;
    const int part = parts_ - static_cast<int>(seen & parts_mask);
    try {
      (*body_)(part, thread);
    } catch (...) {
      const std::lock_guard lock(failure_mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
    seen = todo_.load(std::memory_order_acquire);
  }
  return seen;
}

void ThreadTeam::work(int thread) {
  for (;;) {
    const std::uint32_t seen = work_off(thread);
    if (ending_) return;  // looked at after todo_: whoever has seen the destructor's todo_ sees its ending_ too
    await_change(todo_, seen);
  }
}

}  // namespace nepenthe::kernels
