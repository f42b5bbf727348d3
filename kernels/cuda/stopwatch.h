// Times what a stream does, by events in it.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/check.h"

namespace nepenthe::kernels {

class Stopwatch {
 public:
  explicit Stopwatch(cudaStream_t stream) : stream_(stream) {
    NEPENTHE_CHECK(cudaEventCreate(&begin_));
    const cudaError_t status = cudaEventCreate(&end_);
    if (status != cudaSuccess) cudaEventDestroy(begin_);
    NEPENTHE_CHECK(status);
  }
  ~Stopwatch() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  /// Time that the stream takes for what `body` issues to it; waits for it.
  template <class Body>
  float milliseconds(Body&& body) const {
    NEPENTHE_CHECK(cudaEventRecord(begin_, stream_));
    body();
    NEPENTHE_CHECK(cudaEventRecord(end_, stream_));
    NEPENTHE_CHECK(cudaEventSynchronize(end_));
    float time = 0;
    NEPENTHE_CHECK(cudaEventElapsedTime(&time, begin_, end_));
    return time;
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

}  // namespace nepenthe::kernels
