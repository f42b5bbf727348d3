// The CUDA backend.
#pragma once

#include <memory>
#include <string>

#include "kernels/precision.h"

namespace nepenthe::kernels {

struct CudaContext;  // kernels/cuda/context.h: stream, scratch memory, the libraries' handles and plans

/// One GPU and one stream, in which everything runs in order. Calls return before the work is done; copies to the host
/// wait for it.
class CudaExec {
 public:
  /// Opens the first visible GPU; in programs loads the backend first (kernels/cuda_module/loader.cpp). Throws
  /// std::runtime_error, in one line, where this build has no such backend, a library that it needs is missing, there
  /// is no GPU of compute capability 8.0 or later, or driver or cuDNN cannot be used.
  explicit CudaExec(Precision precision = Precision::fp32);

  Precision precision() const { return precision_; }
  /// For people and results: "CUDA (NVIDIA H200, sm_90, cuDNN 9.13.0, cuBLASLt 13.0.2)".
  const std::string& description() const { return description_; }

  CudaContext& context() { return *context_; }
  const CudaContext& context() const { return *context_; }

 private:
  using Close = void (*)(CudaContext*);  // known to the backend alone, as the context is

  Precision precision_;
  std::unique_ptr<CudaContext, Close> context_;
  std::string description_;
};

}  // namespace nepenthe::kernels
