// Named stretches of work: device time by name, and ranges for Nsight (NVTX).
#pragma once

#include <map>
#include <string>

#include "kernels/exec_fwd.h"

namespace nepenthe::kernels {

/// Between begin_range and end_range the issued work has a name; ranges do not overlap.
void begin_range(CpuExec& exec, const char* name);
void begin_range(CudaExec& exec, const char* name);
void end_range(CpuExec& exec) noexcept;
void end_range(CudaExec& exec) noexcept;

/// Milliseconds of device time and number of ranges, by name.
struct RangeTime {
  double milliseconds = 0;
  int count = 0;
};
using RangeTimes = std::map<std::string, RangeTime>;

/// From time_ranges to take_range_times ranges are timed. On CUDA that is for eager steps: events cost little, but the
/// device must be behind the host all the while, or it is the host's time that counts.
void time_ranges(CpuExec& exec);
void time_ranges(CudaExec& exec);
RangeTimes take_range_times(CpuExec& exec);
RangeTimes take_range_times(CudaExec& exec);

}  // namespace nepenthe::kernels
