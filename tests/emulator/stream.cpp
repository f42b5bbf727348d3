#include "stream.h"

#include <cuda_emulator_host.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "device_memory.h"
#include "settings.h"

using Clock = std::chrono::steady_clock;
using Nodes = std::vector<std::function<void()>>;

struct CUstream_st {
  bool capturing = false, relaxed = false;
  bool invalidated = false;
  Nodes recorded;
};

struct CUgraph_st {
  Nodes nodes;
};

struct CUgraphExec_st {
  Nodes nodes;
};

struct CUevent_st {
  bool timing = true;
  bool recorded = false;
  bool captured = false;  // recorded last by a stream that captured
  Clock::time_point time;
};

namespace cuda_emulator {
namespace {

std::vector<cudaStream_t>& capturing_streams() {
  static std::vector<cudaStream_t> streams;
  return streams;
}

/// The status of a call that waits for an event or reads it.
cudaError_t readable(cudaEvent_t event) {
  if (event == nullptr) return cudaErrorInvalidResourceHandle;
  if (const cudaError_t status = outside_capture(); status != cudaSuccess) return status;
  return event->captured ? cudaErrorCapturedEvent : cudaSuccess;
}

}  // namespace

std::unique_lock<std::recursive_mutex> take_turn() {
  static std::recursive_mutex mutex;
  return std::unique_lock(mutex);
}

cudaError_t outside_capture() {
  const auto turn = take_turn();
  for (cudaStream_t stream : capturing_streams()) stream->invalidated = true;
  return capturing_streams().empty() ? cudaSuccess : cudaErrorStreamCaptureUnsupported;
}

cudaError_t allocation_in_capture() {
  const auto turn = take_turn();
  const auto& streams = capturing_streams();
  const bool relaxed = std::all_of(streams.begin(), streams.end(), [](cudaStream_t stream) { return stream->relaxed; });
  return relaxed ? cudaSuccess : outside_capture();
}

cudaError_t submit(cudaStream_t stream, std::function<void()> work) {
  const auto turn = take_turn();
  if (stream == nullptr) {  // which waits for all others
    if (outside_capture() != cudaSuccess) return cudaErrorStreamCaptureImplicit;
  } else if (stream->capturing) {
    if (stream->invalidated) return cudaErrorStreamCaptureInvalidated;
    stream->recorded.push_back(std::move(work));
    return cudaSuccess;
  }
  const DeviceMemoryAccess access;
  work();
  return cudaSuccess;
}

void enqueue(cudaStream_t stream, std::function<void()> work) {
  const cudaError_t status = report(submit(stream, std::move(work)));
  if (status != cudaSuccess) throw Error(std::string("[cuda_emulator] ") + cudaGetErrorString(status));
}

}  // namespace cuda_emulator

using cuda_emulator::report;

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  if (cuda_emulator::settings::device() == "broken") return report(cudaErrorUnknown);
  *stream = new CUstream_st;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (stream == nullptr) return report(cudaErrorInvalidResourceHandle);
  const auto turn = cuda_emulator::take_turn();
  std::erase(cuda_emulator::capturing_streams(), stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream != nullptr && !stream->capturing) return cudaSuccess;
  return report(cuda_emulator::outside_capture());
}

cudaError_t cudaDeviceSynchronize() { return report(cuda_emulator::outside_capture()); }

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const auto turn = cuda_emulator::take_turn();
  if (stream == nullptr) return report(cudaErrorStreamCaptureUnsupported);
  if (stream->capturing) return report(cudaErrorIllegalState);
  stream->capturing = true;
  stream->relaxed = mode == cudaStreamCaptureModeRelaxed;
  stream->invalidated = false;
  stream->recorded.clear();
  cuda_emulator::capturing_streams().push_back(stream);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const auto turn = cuda_emulator::take_turn();
  *graph = nullptr;
  if (stream == nullptr || !stream->capturing) return report(cudaErrorIllegalState);
  stream->capturing = false;
  std::erase(cuda_emulator::capturing_streams(), stream);
  Nodes recorded = std::exchange(stream->recorded, {});
  if (stream->invalidated) return report(cudaErrorStreamCaptureInvalidated);
  *graph = new CUgraph_st{std::move(recorded)};
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = stream == nullptr || !stream->capturing ? cudaStreamCaptureStatusNone
            : stream->invalidated                   ? cudaStreamCaptureStatusInvalidated
                                                    : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
  if (graph == nullptr || count == nullptr) return report(cudaErrorInvalidValue);
  if (nodes == nullptr) {
    *count = graph->nodes.size();
    return cudaSuccess;
  }
  for (std::size_t i = 0; i < *count; ++i) {
    nodes[i] = i < graph->nodes.size() ? reinterpret_cast<cudaGraphNode_t>(&graph->nodes[i]) : nullptr;
  }
  *count = std::min(*count, graph->nodes.size());
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  if (graph == nullptr) return report(cudaErrorInvalidValue);
  const auto turn = cuda_emulator::take_turn();
  if (const std::string file = cuda_emulator::settings::graphs(); !file.empty()) {
    std::ofstream(file, std::ios::app) << graph->nodes.size() << '\n';
  }
  *executable = new CUgraphExec_st{graph->nodes};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  if (executable == nullptr) return report(cudaErrorInvalidValue);
  if (stream != nullptr && stream->capturing) return report(cuda_emulator::outside_capture());
  return report(cuda_emulator::submit(stream, [executable] {
    for (const auto& node : executable->nodes) node();
  }));
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = new CUevent_st;
  (*event)->timing = (flags & cudaEventDisableTiming) == 0;
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (event == nullptr) return report(cudaErrorInvalidResourceHandle);
  event->recorded = true;
  event->captured = stream != nullptr && stream->capturing;
  event->time = Clock::now();
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) { return report(cuda_emulator::readable(event)); }

cudaError_t cudaEventQuery(cudaEvent_t event) { return report(cuda_emulator::readable(event)); }

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  for (cudaEvent_t event : {start, end}) {
    if (const cudaError_t status = cuda_emulator::readable(event); status != cudaSuccess) return report(status);
    if (!event->recorded || !event->timing) return report(cudaErrorInvalidResourceHandle);
  }
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return cudaSuccess;
}

}  // extern "C"
