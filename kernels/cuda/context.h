// What a CudaExec holds: the stream, scratch memory, and the plans of cuDNN and cuBLASLt.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda_exec.h"

namespace nepenthe::kernels {

class ConvPlans;  // kernels/cuda/conv_plans.h
class Matmuls;    // kernels/cuda/matmul.h

struct CudaContext {
  explicit CudaContext(Precision precision);
  ~CudaContext();
  CudaContext(const CudaContext&) = delete;
  CudaContext& operator=(const CudaContext&) = delete;

  /// Scratch memory of the calling kernel on the device, aligned to 256 bytes, contents undefined, valid until the next
  /// call. What was handed out once stays allocated: captured steps go on using it. Throws std::bad_alloc.
  void* workspace(std::size_t bytes);

  /// Bytes of device memory taken by workspaces.
  std::size_t workspace_bytes() const;

  Precision precision;
  cudaStream_t stream = nullptr;
  std::string device_name;
  int compute_capability = 0;  // 90 for sm_90
  unsigned* ticket = nullptr;  // one counter on the device, zero between kernels (device/last_block.cuh)
  struct Range {               // kernels/profile.h
    const char* name;
    cudaEvent_t begin, end;
  };
  bool times_ranges = false;
  std::vector<Range> ranges;
  std::unique_ptr<ConvPlans> convolutions;
  std::unique_ptr<Matmuls> products;

 private:
  struct Workspace {
    void* memory;
    std::size_t bytes;
  };
  std::vector<Workspace> workspaces_;  // growing; the last is in use
};

}  // namespace nepenthe::kernels
