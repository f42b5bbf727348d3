// Runs the threads of one block at a time, as fibers on the calling OS thread: each lane as far as it goes, each warp
// as far as it goes, then the barrier.
#pragma once

#include <cuda_emulator_device.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fiber.h"
#include "shared_memory.h"

namespace cuda_emulator {

struct Launch {
  const char* kernel;
  bool early;  // it may begin before earlier kernels have ended
  dim3 grid, block;
  std::function<void()> thread;  // the kernel with its arguments

  std::uint64_t blocks() const { return std::uint64_t{grid.x} * grid.y * grid.z; }
  std::uint64_t threads() const { return std::uint64_t{block.x} * block.y * block.z; }
};

class Block {
 public:
  Block() = default;
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  /// Runs block `number` of the launch; the last lanes and warps come first if `reverse`. Throws Error.
  void run(const Launch& launch, std::uint64_t number, bool reverse);

  /// The block that this OS thread runs, or nullptr.
  static Block* running();

  // For the running thread.
  int barrier(Vote vote, bool predicate, const Site& site);
  std::uint64_t exchange(WarpOperation operation, unsigned mask, std::uint64_t value, unsigned source,
                         const Site& site);
  void* shared_variable(const void* key, std::size_t bytes, std::size_t alignment, const char* name);
  /// Ends the launch with an Error about the running thread.
  [[noreturn]] void fail(std::string what);

 private:
  struct Thread {
    Fiber* fiber;
    uint3 index;
    Site site;      // where it waits
    Vote vote;      // at a barrier
    int predicate;  // at a barrier, then its result
  };
  struct Exchange {  // that lanes wait in
    unsigned mask, arrived;
    WarpOperation operation;
    Site site;
  };
  struct Warp {
    unsigned live, runnable, at_barrier;
    std::vector<Exchange> exchanges;
    std::array<std::uint64_t, 32> value, result;
    std::array<unsigned, 32> source;
  };

  static void thread_main(void* block);
  void start(const Launch& launch, std::uint64_t number);
  void run_warp(int warp, bool reverse);
  void resume(int thread);
  void release_barrier();
  void check_banks();
  void finish_exchange(int warp, std::size_t exchange);
  void lane_exits();
  [[noreturn]] void stop();
  [[noreturn]] void abandon(const std::string& what);
  Fiber* take_fiber();
  std::string name(int thread) const;
  std::string deadlock() const;

  const Launch* launch_ = nullptr;
  int count_ = 0;  // of threads
  int live_ = 0;   // of them, those that have not returned
  int current_ = 0;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
  SharedMemory shared_;
  std::string error_;
};

/// "__syncthreads at pool.cu:12"
std::string to_string(const Site& site);

}  // namespace cuda_emulator
