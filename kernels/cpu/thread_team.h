// A team of threads that works off numbered parts. Between calls its threads spin for some microseconds, then sleep, so
// that the team does well both on an idle machine and beside other programs, where OpenMP's spinning threads would hold
// the processors that the others need.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace nepenthe::kernels {

class ThreadTeam {
 public:
  /// The calling thread and threads − 1 others; at most 65 535 parts a call.
  explicit ThreadTeam(int threads);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  using Body = std::function<void(int part, int thread)>;

  /// Calls body(part, thread) for every part in [0, parts), thread being the number of the one that runs it; returns
  /// when all are done. The first exception of a body is thrown again here. Not to be called from a body, nor by two
  /// threads.
  void run(int parts, const Body& body);

 private:
  void end();
  void work(int thread);
  /// Takes parts until none is left; returns todo_ as it was then.
  std::uint32_t work_off(int thread);

  // The number of the call in the high half, the parts not yet taken in the low half: one word, so that a thread that
  // wakes up late can never take a part of another call than the one it looked at.
  std::atomic<std::uint32_t> todo_ = 0;
  std::atomic<std::uint32_t> unfinished_ = 0;
  std::atomic<bool> ending_ = false;
  const Body* body_ = nullptr;
  int parts_ = 0;
  std::mutex failure_mutex_;
  std::exception_ptr failure_;
  std::vector<std::thread> threads_;
};

}  // namespace nepenthe::kernels
