#include "kernels/profile.h"

#include <memory>
#include <utility>

#include "kernels/cpu/range_clock.h"
#include "kernels/cpu_exec.h"

namespace nepenthe::kernels {

void begin_range(CpuExec& exec, const char* name) {
  RangeClock* const clock = exec.range_clock().get();
  if (!clock) return;
  clock->current = &clock->times[name];
  clock->begin = RangeClock::Clock::now();
}

void end_range(CpuExec& exec) noexcept {
  RangeClock* const clock = exec.range_clock().get();
  if (!clock) return;
  const auto time = RangeClock::Clock::now() - clock->begin;
  clock->current->milliseconds += std::chrono::duration<double, std::milli>(time).count();
  ++clock->current->count;
}

void time_ranges(CpuExec& exec) { exec.range_clock() = std::make_unique<RangeClock>(); }

RangeTimes take_range_times(CpuExec& exec) {
  const std::unique_ptr<RangeClock> clock = std::exchange(exec.range_clock(), nullptr);
  return clock ? std::move(clock->times) : RangeTimes();
}

}  // namespace nepenthe::kernels
