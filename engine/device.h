// A device: the backend's Exec and an arena of its memory. Everything that computes holds a reference to one,
// and everything allocated from it ends before it.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "engine/arena.h"
#include "kernels/exec.h"

namespace nepenthe {

/// Arithmetic of convolutions and matrix products, and storage of activations.
enum class Precision { fp32, tf32, bf16 };

struct DeviceSettings {
  std::string kind = "auto";  // auto | cpu | cuda
  Precision precision = Precision::fp32;
  int threads = 0;  // of the CPU backend; 0: all
};

class Device {
 public:
  /// Throws UsageError for a kind, precision or thread count that there is not, Error for a device that this build or
  /// machine lacks; nothing falls back silently.
  explicit Device(const DeviceSettings& settings = {});
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  kernels::Exec& exec() { return exec_; }
  Arena& arena() { return arena_; }
  Precision precision() const { return precision_; }
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
  void copy_in(void* device, const void* host, std::size_t bytes);
  void copy_out(void* host, const void* device, std::size_t bytes);

  kernels::Exec exec_;
  Arena arena_;
  Precision precision_;
  std::string reason_;
};

std::string name(Precision precision);

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
