// Running one check on every backend that can be had: memory that the kernels see, poisoned and guarded; runs that have
// to agree in every bit; and what storage and arithmetic cost in accuracy.
//
// The CPU's kernels run with teams of different sizes. CUDA's run in the precisions that matter to them where a GPU can
// be opened. A build with emulated CUDA checks that alone, since the same kernels of the CPU are tested without it.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "harness.h"
#include "kernels/bf16.h"
#include "kernels/memory.h"

namespace nepenthe::tests {

using kernels::bf16;
using kernels::CudaExec;
using kernels::Precision;

/// What the program is linked with: emulated CUDA, and kernels under AddressSanitizer (tests/linked_with.cpp).
extern const bool emulated, sanitized;

/// Backends with teams of 1, 2 and 3 threads, made once; with an instruction set that has bf16, which some tests want.
inline CpuExec& exec_with(int threads) {
  static const auto with = [](int count) { return CpuExec(count, std::nullopt, Precision::bf16); };
  static CpuExec execs[] = {with(1), with(2), with(3)};
  return execs[threads - 1];
}

/// The CUDA backend in this precision, opened once; null, and a message once why, where there is no GPU to be had.
/// Never closed: at the end of the process the libraries beneath it may be gone before it.
inline CudaExec* cuda_exec(Precision precision) {
  static std::string failure;
  static CudaExec* execs[3];
  CudaExec*& exec = execs[static_cast<int>(precision)];
  if (exec || !failure.empty()) return exec;
  try {
    exec = new CudaExec(precision);
  } catch (const std::runtime_error& error) {
    if (emulated) throw;  // there it always can be had
    failure = error.what();
    CHECK(failure.find('\n') == std::string::npos);
    MESSAGE("CUDA is not tested: ", failure);
  }
  return exec;
}

/// Memory of a backend, filled from the host. The CPU's is the heap's own, as AddressSanitizer watches it.
template <class Exec, class T>
class Buffer {
 public:
  Buffer(Exec&, std::vector<T> values) : values_(std::move(values)) {}
  T* data() { return values_.data(); }
  const T* data() const { return values_.data(); }
  std::vector<T> host() const { return values_; }

 private:
  std::vector<T> values_;
};

/// A GPU's memory lies between two guards, which have to be whole when it is read.
template <class T>
class Buffer<CudaExec, T> {
 public:
  Buffer(CudaExec& exec, const std::vector<T>& values) : exec_(&exec), count_(values.size()) {
    std::vector<unsigned char> all(2 * guard + count_ * sizeof(T), mark);
    if (count_ != 0) std::memcpy(all.data() + guard, values.data(), count_ * sizeof(T));
    memory_ = static_cast<unsigned char*>(allocate(exec, std::max<std::size_t>(all.size(), 1)));
    copy_to_device(exec, memory_, all.data(), all.size());
  }
  ~Buffer() {
    if (memory_) release(*exec_, memory_);
  }
  Buffer(Buffer&& other) noexcept
      : exec_(other.exec_), count_(other.count_), memory_(std::exchange(other.memory_, nullptr)) {}
  Buffer& operator=(Buffer&&) = delete;

  T* data() { return reinterpret_cast<T*>(memory_ + guard); }
  const T* data() const { return reinterpret_cast<const T*>(memory_ + guard); }

  std::vector<T> host() const {
    std::vector<unsigned char> all(2 * guard + count_ * sizeof(T));
    copy_to_host(*exec_, all.data(), memory_, all.size());
    const auto begin = all.begin() + guard, end = all.end() - guard;
    const auto whole = [](unsigned char byte) { return byte == mark; };
    CHECK(std::all_of(all.begin(), begin, whole));
    CHECK(std::all_of(end, all.end(), whole));
    std::vector<T> values(count_);
    if (count_ != 0) std::memcpy(values.data(), all.data() + guard, count_ * sizeof(T));
    return values;
  }

 private:
  // Under AddressSanitizer a step over the edge is seen if nothing lies there; else the alignment of allocations, so
  // that it stays.
  const std::ptrdiff_t guard = sanitized ? 0 : 512;
  static constexpr unsigned char mark = 0xA5;
  CudaExec* exec_;
  std::size_t count_;
  unsigned char* memory_;
};

template <class T>
std::vector<T> narrowed_to(const std::vector<float>& values) {
  if constexpr (std::is_same_v<T, float>) {
    return values;
  } else {
    std::vector<T> narrow(values.size());
    std::transform(values.begin(), values.end(), narrow.begin(), kernels::to_bf16);
    return narrow;
  }
}

template <class T>
std::vector<float> floats_of(const std::vector<T>& values) {
  std::vector<float> wide(values.size());
  if constexpr (std::is_same_v<T, bf16>) {
    std::transform(values.begin(), values.end(), wide.begin(), [](bf16 value) { return kernels::to_float(value); });
  } else {
    std::transform(values.begin(), values.end(), wide.begin(), [](T value) { return static_cast<float>(value); });
  }
  return wide;
}

/// One run of the kernel under test: its backend, and the way of operands there and back. T is the type in which
/// activations are stored.
template <class Exec_, class T>
struct Run {
  using Exec = Exec_;
  Exec& exec;

  template <class U>
  Buffer<Exec, U> upload(const std::vector<U>& values) const {
    return {exec, values};
  }
  /// As activations are stored; `values` in their order in memory.
  Buffer<Exec, T> stored(const std::vector<float>& values) const { return {exec, narrowed_to<T>(values)}; }
  /// Activations from and to plain (N, H, W, C) arrays.
  Buffer<Exec, T> images(const ImageShape& shape, const std::vector<float>& plain) const {
    return stored(to_backend(exec, shape, plain));
  }
  std::vector<float> plain(const ImageShape& shape, const Buffer<Exec, T>& images) const {
    return from_backend(exec, shape, floats_of(images.host()));
  }
};

/// A backend and a type of activations.
template <class Exec, class T>
struct Backend {
  static constexpr bool on_cpu = std::is_same_v<Exec, CpuExec>;
  Precision precision;
  std::vector<Exec*> execs;  // one run each, all of which have to agree to the bit

  Run<Exec, T> run() const { return {*execs.front()}; }
  /// What is left of the numbers when they are stored as activations.
  std::vector<float> rounded(const std::vector<float>& values) const { return floats_of(narrowed_to<T>(values)); }
  /// Of results stored as activations.
  double tolerance(std::size_t elements) const {
    return std::is_same_v<T, bf16> ? bf16_tolerance(elements) : fp32_tolerance;
  }
};

template <class T, class Check>
void on_cpu(Precision precision, Check&& check) {
  if (!emulated) {
    static const std::string description = exec_with(1).description();
    INFO(description);
    INFO(kernels::name(precision));
    check(Backend<CpuExec, T>{precision, {&exec_with(1), &exec_with(2), &exec_with(3), &exec_with(1)}});
  }
}

template <class T, class Check>
void on_cuda(Precision precision, Check&& check) {
  if (CudaExec* exec = cuda_exec(precision)) {
    const std::string description = exec->description();
    INFO(description);
    INFO(kernels::name(precision));
    check(Backend<CudaExec, T>{precision, {exec, exec}});
  }
}

/// Calls check(backend) once a backend: for kernels with operands in fp32 alone.
template <class Check>
void each_backend(Check&& check) {
  on_cpu<float>(Precision::fp32, check);
  on_cuda<float>(Precision::fp32, check);
}

/// For kernels on activations: with those in bf16 too.
template <class Check>
void each_storage(Check&& check) {
  each_backend(check);
  on_cpu<bf16>(Precision::bf16, check);
  on_cuda<bf16>(Precision::bf16, check);
}

/// For products, whose arithmetic depends on the precision.
template <class Check>
void each_precision(Check&& check) {
  each_storage(check);
  on_cuda<float>(Precision::tf32, check);
}

/// While one lives, the emulator runs blocks, warps and lanes in the opposite order: no result may depend on it.
class OppositeOrder {
 public:
  OppositeOrder() {
    if (const char* const order = std::getenv(variable)) before_ = order;
    setenv(variable, before_ == "reverse" ? "natural" : "reverse", 1);
  }
  ~OppositeOrder() { setenv(variable, before_.c_str(), 1); }
  OppositeOrder(const OppositeOrder&) = delete;
  OppositeOrder& operator=(const OppositeOrder&) = delete;

 private:
  static constexpr const char* variable = "NEPENTHE_EMULATOR_ORDER";
  std::string before_;
};

using Outputs = std::vector<std::vector<float>>;

/// Runs kernel(run), which returns its outputs one after the other, on all of the backend's execs; checks that they
/// agree to the bit and returns the outputs. The emulator runs all but the first in the opposite order.
template <class Exec, class T, class Kernel>
Outputs deterministic(const Backend<Exec, T>& backend, Kernel&& kernel) {
  const Outputs outputs = kernel(backend.run());
  std::optional<OppositeOrder> opposite;
  if (emulated) opposite.emplace();
  for (std::size_t run = 1; run < backend.execs.size(); ++run) {
    const Outputs again = kernel(Run<Exec, T>{*backend.execs[run]});
    REQUIRE(again.size() == outputs.size());
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      CAPTURE(run);
      CAPTURE(i);
      CHECK(same_bits(outputs[i], again[i]));
    }
  }
  return outputs;
}

}  // namespace nepenthe::tests
