// Where kernels run. Every kernel takes the backend's Exec first and is overloaded for each backend; engine code holds
// an Exec and visits it once a kernel. No layer above knows which backends the build has.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "kernels/conv_algorithms.h"

namespace nepenthe::kernels {

/// Instruction sets of the x86-64 psABI's levels that the CPU kernels are compiled for, chosen at run time.
enum class Isa { v2 = 2, v3 = 3, v4 = 4 };

/// "x86-64-v2", "x86-64-v3" or "x86-64-v4".
std::string_view name(Isa isa);
/// The inverse of name(); empty for other spellings.
std::optional<Isa> isa_named(std::string_view name);
/// Whether this processor has it.
bool has(Isa isa);
/// The one that $NEPENTHE_ISA asks for; empty where it is not set. Throws std::invalid_argument for other spellings.
std::optional<Isa> isa_asked_for();

/// Arithmetic of convolutions and matrix products, and storage of activations: fp32 (true fp32 throughout), tf32 (fp32
/// storage, products in TF32), bf16 (activations and filters stored as bf16, accumulation in fp32).
enum class Precision { fp32, tf32, bf16 };

/// "fp32", "tf32" or "bf16".
std::string_view name(Precision precision);

/// Whether a gradient kernel overwrites its output or adds to it.
enum class Accumulate { assign, add };

class ThreadTeam;  // kernels/cpu/thread_team.h
struct OneDnn;     // kernels/cpu/onednn.h: the library's engine, stream and primitives cached by shape

/// The CPU backend: a team of threads, an instruction set, scratch memory and oneDNN's primitives.
///
/// Work is always cut into parts that depend on the shapes alone, and each part is computed by one thread, so that
/// results have the same bits for any number of threads.
class CpuExec {
 public:
  /// `threads` 0 takes all hardware threads. `isa` empty takes $NEPENTHE_ISA ("x86-64-v2" …) or else the best that
  /// the processor has. Throws std::invalid_argument for negative threads, an instruction set that the processor
  /// lacks, or one that differs from an earlier CpuExec's (oneDNN fixes it once for the process).
  explicit CpuExec(int threads = 0, std::optional<Isa> isa = std::nullopt);
  ~CpuExec();
  CpuExec(CpuExec&&) noexcept;
  CpuExec& operator=(CpuExec&&) noexcept;

  int threads() const { return threads_; }
  Isa isa() const { return isa_; }
  /// Floats in one vector of the kernels: 16 with x86-64-v4, else 8.
  int lanes() const { return isa_ == Isa::v4 ? 16 : 8; }
  /// For people and results: "CPU (AMD EPYC …, x86-64-v4)".
  std::string description() const;

  /// Calls body(part, thread) for every part in [0, parts), in any order, thread in [0, threads()) being the team's
  /// number of the one that runs it; returns when all are done. The first exception of a body is thrown again here.
  void parallel(int parts, const std::function<void(int part, int thread)>& body);

  /// Scratch memory of the calling kernel, 64-byte aligned, contents undefined, valid until the next call. Grows to
  /// the largest request and stays.
  float* workspace(std::size_t floats);

  OneDnn& onednn() { return *onednn_; }

 private:
  struct AlignedFree {
    void operator()(float* memory) const;
  };
  int threads_;
  Isa isa_;
  std::unique_ptr<ThreadTeam> team_;
  std::unique_ptr<OneDnn> onednn_;
  std::unique_ptr<float, AlignedFree> workspace_;
  std::size_t workspace_floats_ = 0;
};

#if defined(NEPENTHE_CUDA)
struct CudaContext;  // kernels/cuda/context.h: stream, scratch memory, the libraries' handles and plans

/// The CUDA backend: one GPU and one stream, in which everything runs in order. Calls return before the work is done;
/// copies to the host wait for it.
class CudaExec {
 public:
  /// Opens the first visible GPU. Throws std::runtime_error, in one line, where there is none of compute capability
  /// 8.0 or later, or driver or cuDNN cannot be used.
  explicit CudaExec(Precision precision = Precision::fp32);
  ~CudaExec();
  CudaExec(CudaExec&&) noexcept;
  CudaExec& operator=(CudaExec&&) noexcept;

  Precision precision() const;
  /// For people and results: "CUDA (NVIDIA H200, sm_90, cuDNN 9.13.0, cuBLASLt 13.0.2)".
  std::string description() const;

  CudaContext& context() { return *context_; }
  const CudaContext& context() const { return *context_; }

 private:
  std::unique_ptr<CudaContext> context_;
};

using Exec = std::variant<CpuExec, CudaExec>;
#else
using Exec = std::variant<CpuExec>;
#endif

/// Of the oneDNN in use, for example "2.6.3".
std::string onednn_version();

/// The CUDA backend. Throws std::runtime_error where there is no usable GPU, or none in this build.
Exec open_cuda(Precision precision);

/// How an activation of logical shape (N, H, W, C) lies in memory: element (n, h, w, c) stands at
///   ((n·(C/block) + c/block)·H·W + h·W + w)·block + c mod block.
/// block = 1 is planar (NCHW), block = C is NHWC, 8 and 16 are oneDNN's blocked formats. The backend chooses; only
/// kernels, and readers in tests, look. Here: lanes() where that divides the channels, else planar; always planar with
/// x86-64-v2, for which oneDNN has no backward convolutions on blocks; on CUDA NHWC.
int channel_block(const CpuExec& exec, int channels);
#if defined(NEPENTHE_CUDA)
inline int channel_block(const CudaExec&, int channels) { return channels; }
#endif

/// cuDNN's engines in use, by convolution: those given and those chosen since. None on the CPU.
const ConvAlgorithms& conv_algorithms(const CpuExec& exec);
/// Engines to take in place of own choices, for convolutions not yet run. Nothing happens on the CPU.
inline void use_conv_algorithms(CpuExec&, const ConvAlgorithms&) {}
/// From here on a convolution's first run measures every deterministic engine and takes the fastest, in place of
/// cuDNN's first suggestion; its outputs are undefined then. False where there are no engines to measure.
inline bool measure_conv_algorithms(CpuExec&) { return false; }
#if defined(NEPENTHE_CUDA)
const ConvAlgorithms& conv_algorithms(const CudaExec& exec);
void use_conv_algorithms(CudaExec& exec, const ConvAlgorithms& engines);
bool measure_conv_algorithms(CudaExec& exec);
#endif

}  // namespace nepenthe::kernels
