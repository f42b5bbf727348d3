// The CPU backend.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "kernels/isa.h"

namespace nepenthe::kernels {

class ThreadTeam;   // kernels/cpu/thread_team.h
struct RangeClock;  // kernels/cpu/range_clock.h

inline constexpr int most_threads = 1024;

/// A team of threads, an instruction set and scratch memory.
///
/// Work is always cut into parts that depend on the shapes alone, and each part is computed by one thread, so that
/// results have the same bits for any number of threads.
class CpuExec {
 public:
  /// `threads` 0 takes all hardware threads. `isa` empty takes $NEPENTHE_ISA ("x86-64-v2" …) or else the best that
  /// the processor has for this precision. Throws std::invalid_argument for threads outside [0, most_threads] and for
  /// an instruction set that the processor lacks.
  explicit CpuExec(int threads = 0, std::optional<Isa> isa = std::nullopt, Precision precision = Precision::fp32);
  ~CpuExec();
  CpuExec(CpuExec&&) noexcept;
  CpuExec& operator=(CpuExec&&) noexcept;

  int threads() const { return threads_; }
  Isa isa() const { return isa_; }
  /// Floats in one vector of the kernels: 16, 8 and 4 with x86-64-v4, v3 and v2.
  int lanes() const { return isa_ == Isa::v4 ? 16 : isa_ == Isa::v3 ? 8 : 4; }
  /// For people and results: "CPU (AMD EPYC …, x86-64-v4)".
  std::string description() const;

  /// Calls body(part, thread) for every part in [0, parts), in any order, thread in [0, threads()) being the team's
  /// number of the one that runs it; returns when all are done. The first exception of a body is thrown again here.
  void parallel(int parts, const std::function<void(int part, int thread)>& body);

  /// Scratch memory of the calling kernel, 64-byte aligned, contents undefined, valid until the next call. Grows to
  /// the largest request and stays.
  float* workspace(std::size_t floats);

  /// Null where ranges are not timed (kernels/profile.h).
  std::unique_ptr<RangeClock>& range_clock() { return range_clock_; }

 private:
  struct AlignedFree {
    void operator()(float* memory) const;
  };
  int threads_;
  Isa isa_;
  std::unique_ptr<ThreadTeam> team_;
  std::unique_ptr<RangeClock> range_clock_;
  std::unique_ptr<float, AlignedFree> workspace_;
  std::size_t workspace_floats_ = 0;
};

}  // namespace nepenthe::kernels
