// A device: the backend's Exec and arenas of its memory. Everything that computes holds a reference to one, and
// everything allocated from it ends before it.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "engine/arena.h"
#include "kernels/bf16.h"
#include "kernels/conv_algorithms.h"
#include "kernels/exec.h"

namespace nepenthe {

using kernels::Precision;

/// How the numbers of a tensor are stored.
enum class ElementType { fp32, bf16 };
template <class T>
inline constexpr ElementType element_type = std::is_same_v<T, kernels::bf16> ? ElementType::bf16 : ElementType::fp32;

struct DeviceSettings {
  std::string kind = "auto";  // auto | cpu | cuda
  Precision precision = Precision::fp32;
  int threads = 0;                    // of the CPU backend; 0: all
  std::optional<kernels::Isa> isa{};  // of the CPU backend; empty: as kernels::CpuExec chooses
  bool eager = false;  // issue every kernel of every step, for debugging; else steps are captured and replayed
  kernels::ConvAlgorithms conv_algorithms{};  // cuDNN's algorithms to use, where they are given
};

class Device {
 public:
  /// Throws UsageError for a kind, precision or thread count that there is not, Error for a device that this build or
  /// machine lacks; nothing falls back silently.
  explicit Device(const DeviceSettings& settings = {}) : Device(settings, nullptr, 1) {}
  /// One of `parts` devices that compute at once in the place of `whole`, each used by the thread that makes it: of the
  /// CPU's threads it has its part, one at least; a GPU and its memory are shared. It has the instruction set and the
  /// convolution algorithms of `whole`, may read its memory as it is now, and ends before it.
  Device(Device& whole, int part, int parts);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  kernels::Exec& exec() { return exec_; }
  Precision precision() const { return settings_.precision; }
  /// The instruction set of the CPU backend, which decides bits; empty on others.
  std::optional<kernels::Isa> isa() const;
  bool eager() const { return settings_.eager; }
  /// Whether looking at results means waiting for them: work is done later than it is issued.
  bool waits_for_results() const;

  /// Calls body(exec, element) with the backend's Exec and a number of the activations' type, float or bf16.
  template <class Body>
  void run(Body&& body);
  ElementType activation_type() const { return precision() == Precision::bf16 ? ElementType::bf16 : ElementType::fp32; }

  /// The arena in use: that of lasting things, or within a StepScope that of steps.
  Arena& arena() { return *arena_; }
  Arena& step_arena() { return step_; }
  /// Bytes of the device's memory in use at most, scratch memory included.
  std::size_t peak_bytes();
  /// How many such devices share the memory, this one among them.
  int parts() const { return parts_; }
  /// Bytes that the steps' arenas of all parts have and can still take; 0 where the backend does not tell, as the
  /// CPU's.
  std::size_t memory_for_steps();

  /// While it lives, memory comes from the steps' arena, where nothing may stay behind it: so a captured step, which
  /// keeps its addresses, shares them with every other step, and with nothing else.
  class StepScope {
   public:
    explicit StepScope(Device& device) : device_(device), before_(device.arena_) { device.arena_ = &device.step_; }
    ~StepScope() { device_.arena_ = before_; }
    StepScope(const StepScope&) = delete;
    StepScope& operator=(const StepScope&) = delete;

   private:
    Device& device_;
    Arena* before_;
  };

  /// cuDNN's algorithms in use by convolution (kernels/conv_algorithms.h); none on the CPU.
  const kernels::ConvAlgorithms& conv_algorithms() const;
  /// Those a run has recorded, on top of the given ones; nothing happens on the CPU. Throws UsageError where one
  /// differs from a given one.
  void use_conv_algorithms(const kernels::ConvAlgorithms& algorithms);
  /// The given ones, as a run's identity names them; empty where none were.
  const kernels::ConvAlgorithms& given_conv_algorithms() const { return settings_.conv_algorithms; }
  /// See CudaExec::measure_conv_algorithms. Throws Error on the CPU.
  void measure_conv_algorithms();

  /// For people and results, for example "CPU (AMD EPYC, x86-64-v4)".
  std::string description() const;
  /// Why `auto` took this device; empty when the kind was named.
  const std::string& reason() const { return reason_; }

  /// Copies between host vectors and this device's memory; returns when done.
  template <class T>
  void upload(T* device, const T* host, std::size_t count);
  template <class T>
  std::vector<T> download(const T* device, std::size_t count);

 private:
  Device(const DeviceSettings& settings, Device* whole, int parts);
  DeviceSettings settings_of_part(int part, int parts) const;
  void copy_in(void* device, const void* host, std::size_t bytes);
  void copy_out(void* host, const void* device, std::size_t bytes);

  DeviceSettings settings_;
  Device* whole_;
  int parts_;
  std::atomic<std::size_t> steps_of_parts_ = 0;  // bytes that the steps' arenas of its parts have
  std::string reason_;
  kernels::Exec exec_;
  Arena lasting_, step_;
  Arena* arena_ = &lasting_;
};

/// An owned array of T in a device's memory, outside any tensor: labels, ids, flat parameter buffers.
template <class T>
class DeviceArray {
 public:
  DeviceArray() = default;
  DeviceArray(Device& device, std::size_t count) : memory_(device.arena().allocate(count * sizeof(T))), count_(count) {}
  DeviceArray(Device& device, const std::vector<T>& host) : DeviceArray(device, host.size()) {
    device.upload(data(), host.data(), host.size());
  }
  T* data() const { return static_cast<T*>(memory_.get()); }
  std::size_t size() const { return count_; }

 private:
  std::shared_ptr<void> memory_;
  std::size_t count_ = 0;
};

template <class Body>
void Device::run(Body&& body) {
  std::visit(
      [&](auto& exec) {
        if (precision() == Precision::bf16) return body(exec, kernels::bf16{});
        body(exec, float{});
      },
      exec_);
}

template <class T>
void Device::upload(T* device, const T* host, std::size_t count) {
  copy_in(device, host, count * sizeof(T));
}

template <class T>
std::vector<T> Device::download(const T* device, std::size_t count) {
  std::vector<T> host(count);
  copy_out(host.data(), device, count * sizeof(T));
  return host;
}

}  // namespace nepenthe
