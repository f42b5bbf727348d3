// The emulator as host code sees it, next to the functions of the CUDA runtime that it defines itself.
//
// Work of a stream is done before the call returns, unless the stream captures. Several host threads may call at once;
// they take turns.
//
// Environment:
//   NEPENTHE_EMULATOR_ORDER       natural (default) or reverse: the order of blocks, warps and lanes
//   NEPENTHE_EMULATOR_MEMORY_MB   device memory in MiB, 4096 if unset
//   NEPENTHE_EMULATOR_CAPABILITY  compute capability times ten, 90 if unset
//   NEPENTHE_EMULATOR_DEVICE      what is wrong: none (no device), old_driver, broken (no memory and no stream to be
//   had)
//   NEPENTHE_EMULATOR_GRAPHS      a file that gets a line for each graph that is instantiated: how many nodes it has
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <mutex>
#include <stdexcept>

namespace cuda_emulator {

/// What a kernel did wrong, in one line: kernel, block, thread, operation, file and line. Thrown by the launch or by
/// the cudaGraphLaunch that ran it.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Work of a library on the device, done by the CPU: runs now, device memory being accessible, or is recorded while
/// `stream` captures. Throws Error where the stream cannot take it, and whatever `work` throws.
void enqueue(cudaStream_t stream, std::function<void()> work);

/// While it is held, other host threads wait to be served. Calls of the runtime take it themselves.
[[nodiscard]] std::unique_lock<std::recursive_mutex> take_turn();

/// Kernels run so far, replays counted each time.
std::uint64_t launches();

}  // namespace cuda_emulator
