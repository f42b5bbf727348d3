#include "grid.h"

#include <cuda_emulator.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "device_memory.h"
#include "race.h"
#include "settings.h"

namespace cuda_emulator {
namespace {

std::atomic<std::uint64_t> launches_so_far{0};

/// The calling thread and a helper.
class Workers {
 public:
  void run(const Launch& launch) {
    launch_ = &launch;
    reverse_ = settings::reverse_order();
    total_ = launch.blocks();
    next_ = 0;
    error_ = nullptr;
    race::launch_starts(total_);
    const bool helped = !race::enabled && total_ > 1;
    if (helped) wake_helper();
    work(blocks_[0]);
    if (helped) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return !helping_; });
    }
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void wake_helper() {
    {
      const std::lock_guard lock(mutex_);
      helping_ = true;
    }
    if (helper_started_) {
      changed_.notify_all();
    } else {
      std::thread([this] { help(); }).detach();
      helper_started_ = true;
    }
  }

  void help() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return helping_; });
      lock.unlock();
      work(blocks_[1]);
      lock.lock();
      helping_ = false;
      changed_.notify_all();
    }
  }

  void work(Block& block) {
    try {
      for (std::uint64_t i = next_++; i < total_; i = next_++)
        block.run(*launch_, reverse_ ? total_ - 1 - i : i, reverse_);
    } catch (...) {
      next_ = total_;
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }

  std::array<Block, 2> blocks_;
  const Launch* launch_ = nullptr;
  bool reverse_ = false;
  std::uint64_t total_ = 0;
  std::atomic<std::uint64_t> next_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool helper_started_ = false, helping_ = false;
  std::exception_ptr error_;
};

/// This process's: a forked child has none of its parent's threads. Never destroyed, as the helper may outlive main().
Workers& workers() {
  static Workers* workers = nullptr;
  static pid_t owner = 0;
  if (owner != getpid()) {
    workers = new Workers;
    owner = getpid();
  }
  return *workers;
}

}  // namespace

void run(const Launch& launch) {
  const DeviceMemoryAccess access;
  ++launches_so_far;
  workers().run(launch);
}

std::uint64_t launches() { return launches_so_far; }

void launch(const char* name, bool early, dim3 grid, dim3 block, std::size_t dynamic_shared_bytes, cudaStream_t stream,
            std::function<void()> thread) {
  Launch launch{name, early, grid, block, std::move(thread)};
  const auto wrong = [name](const char* what) { throw Error("[cuda_emulator] " + std::string(name) + ": " + what); };
  if (launch.threads() == 0 || launch.threads() > 1024 || block.z > 64) wrong("a block of no or too many threads");
  if (launch.blocks() == 0 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) {
    wrong("a grid of no or too many blocks");
  }
  if (dynamic_shared_bytes != 0) wrong("dynamic shared memory is not emulated");
  enqueue(stream, [launch = std::move(launch)] { run(launch); });
}

}  // namespace cuda_emulator
