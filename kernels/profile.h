// Named stretches of work: ranges for Nsight (NVTX), and device time by name.
#pragma once

#include <map>
#include <string>

#include "kernels/exec_fwd.h"

namespace nepenthe::kernels {

/// Between begin_range and end_range the issued work has a name; ranges do not overlap.
void begin_range(CudaExec& exec, const char* name);
void end_range(CudaExec& exec) noexcept;

/// Milliseconds of device time and number of ranges, by name.
struct RangeTime {
  double milliseconds = 0;
  int count = 0;
};
using RangeTimes = std::map<std::string, RangeTime>;

/// From time_ranges to take_range_times ranges are timed, which is for eager steps: events cost little, but the device
/// must be behind the host all the while, or it is the host's time that counts. Empty on the CPU.
inline void time_ranges(CpuExec&) {}
void time_ranges(CudaExec& exec);
inline RangeTimes take_range_times(CpuExec&) { return {}; }
RangeTimes take_range_times(CudaExec& exec);

}  // namespace nepenthe::kernels
