// Times kernels: each is recorded many times over into one graph, which is replayed between two events.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda_exec.h"
#include "kernels/memory.h"

namespace nepenthe::bench {

/// Hands out device memory for one set of a kernel's operands. It holds random bits that are, read as bf16 and as fp32,
/// numbers of either sign with magnitudes in [0.5, 1).
class Operands {
 public:
  /// `exec` null: `base` is not touched; only the size of what is taken counts.
  Operands(std::byte* base, kernels::CudaExec* exec) : base_(base), exec_(exec) {}

  /// `count` elements, aligned to 512 bytes.
  template <class T>
  T* take(std::size_t count) {
    void* memory = base_ + used_;
    used_ += (count * sizeof(T) + 511) / 512 * 512;
    return static_cast<T*>(memory);
  }

  /// The same with these contents.
  template <class T>
  T* take(const std::vector<T>& values) {
    T* memory = take<T>(values.size());
    if (exec_ != nullptr) kernels::copy_to_device(*exec_, memory, values.data(), values.size() * sizeof(T));
    return memory;
  }

  std::size_t used() const { return used_; }

 private:
  std::byte* base_;
  kernels::CudaExec* exec_;
  std::size_t used_ = 0;
};

/// Arithmetic that a case's operations are held against.
enum class Products { none, fp32, tf32, bf16 };

struct Case {
  std::string op, shape;
  double bytes = 0;       // that have to move between memory and the chip at least once
  double operations = 0;  // multiplications and additions of products
  Products products = Products::none;
  /// Takes the operands it needs and returns what issues the kernel on them. Called for several sets of operands.
  std::function<std::function<void()>(Operands&)> bind;
};

struct Measurement {
  Case what;
  double hot_us = 0;              // always the same operands, which may lie in the L2 cache
  std::optional<double> cold_us;  // in turn over more operands than the L2 cache holds; none where that is too many
  double launches = 0;            // kernels and copies of one call
  std::string failure;            // what was thrown instead; empty: nothing
};

class KernelBench {
 public:
  /// Each figure is the median of `repeats`.
  KernelBench(kernels::CudaExec& exec, int repeats);
  ~KernelBench();
  KernelBench(const KernelBench&) = delete;
  KernelBench& operator=(const KernelBench&) = delete;

  /// Runs a case and keeps its measurement. A failure is kept with it.
  void run(Case what);

  /// Microseconds of one of the calls that `issue` makes, `calls` in all: by a graph, or without one.
  double microseconds(const std::function<void()>& issue, int calls);
  double microseconds_eager(const std::function<void()>& issue, int calls);

  /// At least `bytes` of device memory filled as Operands says; valid until the next call.
  std::byte* memory(std::size_t bytes);

  kernels::CudaExec& exec() { return exec_; }
  std::size_t l2_bytes() const { return l2_bytes_; }
  const std::vector<Measurement>& measurements() const { return measurements_; }

 private:
  void measure(Measurement& measurement);
  int calls_for(const std::function<void()>& issue);

  kernels::CudaExec& exec_;
  int repeats_;
  std::size_t l2_bytes_ = 0;
  std::byte* memory_ = nullptr;
  std::size_t memory_bytes_ = 0;
  std::vector<Measurement> measurements_;
};

}  // namespace nepenthe::bench
