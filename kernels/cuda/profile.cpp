#include "kernels/profile.h"

#include <nvtx3/nvToolsExt.h>

#include "kernels/cuda/check.h"
#include "kernels/cuda/context.h"

namespace nepenthe::kernels {
namespace {

cudaEvent_t record_event(cudaStream_t stream) {
  cudaEvent_t event = nullptr;
  NEPENTHE_CHECK(cudaEventCreate(&event));
  NEPENTHE_CHECK(cudaEventRecord(event, stream));
  return event;
}

}  // namespace

void begin_range(CudaExec& exec, const char* name) {
  nvtxRangePushA(name);
  CudaContext& context = exec.context();
  if (context.times_ranges) {
    context.ranges.push_back({.name = name, .begin = record_event(context.stream), .end = nullptr});
  }
}

void end_range(CudaExec& exec) {
  CudaContext& context = exec.context();
  if (context.times_ranges) context.ranges.back().end = record_event(context.stream);
  nvtxRangePop();
}

void time_ranges(CudaExec& exec) { exec.context().times_ranges = true; }

RangeTimes take_range_times(CudaExec& exec) {
  CudaContext& context = exec.context();
  context.times_ranges = false;
  RangeTimes times;
  for (const CudaContext::Range& range : context.ranges) {
    float milliseconds = 0;
    NEPENTHE_CHECK(cudaEventSynchronize(range.end));
    NEPENTHE_CHECK(cudaEventElapsedTime(&milliseconds, range.begin, range.end));
    NEPENTHE_CHECK(cudaEventDestroy(range.begin));
    NEPENTHE_CHECK(cudaEventDestroy(range.end));
    RangeTime& time = times[range.name];
    time.milliseconds += milliseconds;
    ++time.count;
  }
  context.ranges.clear();
  return times;
}

}  // namespace nepenthe::kernels
