// Streams, which do their work at once, and the capture of that work in graphs.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>

namespace cuda_emulator {

/// Remembers an error for cudaGetLastError() and returns it.
cudaError_t report(cudaError_t status);

/// Does `work` now, or records it while `stream` captures.
cudaError_t submit(cudaStream_t stream, std::function<void()> work);

/// For calls that a capture under way does not allow: invalidates it then, and returns the error.
cudaError_t outside_capture();
/// The same of a call that takes or gives back device memory, which a relaxed capture allows.
cudaError_t allocation_in_capture();

}  // namespace cuda_emulator
