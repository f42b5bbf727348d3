#include "kernels/profile.h"

#include <nvtx3/nvToolsExt.h>

#include "kernels/cuda/check.h"
#include "kernels/cuda/context.h"

namespace nepenthe::kernels {
namespace {

cudaEvent_t make_event() {
  cudaEvent_t event = nullptr;
  NEPENTHE_CHECK(cudaEventCreate(&event));
  return event;
}

}  // namespace

void begin_range(CudaExec& exec, const char* name) {
  nvtxRangePushA(name);
  CudaContext& context = exec.context();
  if (context.times_ranges) {
    const CudaContext::Range range{.name = name, .begin = make_event(), .end = make_event()};
    NEPENTHE_CHECK(cudaEventRecord(range.begin, context.stream));
    context.ranges.push_back(range);
  }
}

void end_range(CudaExec& exec) noexcept {
  CudaContext& context = exec.context();
  // Where this fails the event stays unrecorded, which take_range_times is told when it asks for the time.
  if (context.times_ranges) (void)cudaEventRecord(context.ranges.back().end, context.stream);
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
