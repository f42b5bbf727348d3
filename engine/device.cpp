#include "engine/device.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/base/error.h"
#include "kernels/memory.h"

namespace nepenthe {
namespace {

/// A kernel's message without the "[op] " that names it to the programmer.
std::string_view without_tag(std::string_view message) {
  const std::size_t end = message.starts_with('[') ? message.find("] ") : std::string_view::npos;
  return end == std::string_view::npos ? message : message.substr(end + 2);
}

kernels::Exec open_cpu(const DeviceSettings& settings) {
  if (settings.precision == Precision::tf32) {
    throw UsageError("precision tf32: the CPU backend has fp32 and bf16");
  }
  if (settings.threads < 0 || settings.threads > kernels::most_threads) {
    throw UsageError(
        fmt::format("threads {}: 1 to {}, or 0 for all, would be right", settings.threads, kernels::most_threads));
  }
  try {
    return kernels::CpuExec(settings.threads, settings.isa, settings.precision);
  } catch (const std::invalid_argument& error) {
    throw UsageError(fmt::format("device cpu: {}", without_tag(error.what())));
  } catch (const std::runtime_error& error) {
    throw Error(fmt::format("threads {}: {}", settings.threads, without_tag(error.what())));
  }
}

/// Throws std::runtime_error where there is no GPU to be used.
kernels::Exec open_cuda(const DeviceSettings& settings) {
  kernels::CudaExec exec(settings.precision);
  kernels::use_conv_algorithms(exec, settings.conv_algorithms);
  return exec;
}

/// `reason` is why `auto` took the one it took.
kernels::Exec open_exec(const DeviceSettings& settings, std::string& reason) {
  if (settings.kind == "cpu") return open_cpu(settings);
  if (settings.kind == "cuda") {
    try {
      return open_cuda(settings);
    } catch (const std::bad_alloc&) {
      throw Error("device cuda: the GPU's memory is full; other programs hold it");
    } catch (const std::runtime_error& error) {
      throw Error(fmt::format("device cuda: {}; cpu or auto would run on the CPU", error.what()));
    }
  }
  if (settings.kind != "auto") {
    throw UsageError(fmt::format("device {}: no such device; auto, cpu and cuda are", settings.kind));
  }
  try {
    kernels::Exec exec = open_cuda(settings);
    reason = "a GPU is there";
    return exec;
  } catch (const std::bad_alloc&) {
    reason = "the GPU's memory is full";
    return open_cpu(settings);
  } catch (const std::runtime_error& error) {
    reason = error.what();
    return open_cpu(settings);
  }
}

Arena::AllocateChunk allocate_on(kernels::Exec& exec) {
  return [&exec](std::size_t bytes) {
    return std::visit([&](auto& backend) { return kernels::allocate(backend, bytes); }, exec);
  };
}

Arena::ReleaseChunk release_on(kernels::Exec& exec) {
  return [&exec](void* memory) { std::visit([&](auto& backend) { kernels::release(backend, memory); }, exec); };
}

}  // namespace

Device::Device(const DeviceSettings& settings, Device* whole, int parts)
    : settings_(settings),
      whole_(whole),
      parts_(parts),
      exec_(open_exec(settings_, reason_)),
      lasting_(allocate_on(exec_), release_on(exec_)),
      step_(
          [this, allocate = allocate_on(exec_)](std::size_t bytes) {
            void* memory = allocate(bytes);
            if (whole_ != nullptr) whole_->steps_of_parts_ += bytes;
            return memory;
          },
          release_on(exec_)) {}

Device::Device(Device& whole, int part, int parts) : Device(whole.settings_of_part(part, parts), &whole, parts) {
  std::visit([](auto& exec) { kernels::synchronize(exec); }, whole.exec_);
}

Device::~Device() {
  if (whole_ != nullptr) whole_->steps_of_parts_ -= step_.reserved_bytes();
}

DeviceSettings Device::settings_of_part(int part, int parts) const {
  DeviceSettings settings = settings_;
  settings.kind = "cuda";
  settings.conv_algorithms = conv_algorithms();
  if (const auto* cpu = std::get_if<kernels::CpuExec>(&exec_)) {
    settings.kind = "cpu";
    settings.isa = cpu->isa();
    settings.threads = std::max(1, cpu->threads() / parts + (part < cpu->threads() % parts ? 1 : 0));
  }
  return settings;
}

std::string Device::description() const {
  return std::visit([](const auto& exec) { return exec.description(); }, exec_);
}

std::optional<kernels::Isa> Device::isa() const {
  const auto* cpu = std::get_if<kernels::CpuExec>(&exec_);
  return cpu != nullptr ? std::optional(cpu->isa()) : std::nullopt;
}

bool Device::waits_for_results() const {
  return !std::visit([](const auto& exec) { return kernels::results_are_at_hand(exec); }, exec_);
}

std::size_t Device::peak_bytes() {
  const auto use = std::visit([](auto& exec) { return kernels::memory_use(exec); }, exec_);
  return lasting_.peak_bytes() + step_.peak_bytes() + use.workspace;
}

std::size_t Device::memory_for_steps() {
  const auto use = std::visit([](auto& exec) { return kernels::memory_use(exec); }, exec_);
  if (use.available == 0 && use.workspace == 0) return 0;
  return use.available + (whole_ != nullptr ? whole_->steps_of_parts_.load() : step_.reserved_bytes());
}

const kernels::ConvAlgorithms& Device::conv_algorithms() const {
  return std::visit([](const auto& exec) -> const kernels::ConvAlgorithms& { return kernels::conv_algorithms(exec); },
                    exec_);
}

void Device::use_conv_algorithms(const kernels::ConvAlgorithms& algorithms) {
  for (const auto& [convolution, algorithm] : algorithms) {
    const auto given = settings_.conv_algorithms.find(convolution);
    if (given != settings_.conv_algorithms.end() && given->second != algorithm) {
      throw UsageError(fmt::format(
          "another convolution algorithm for \"{}\" is given than the run's own; without it the run's is used",
          convolution));
    }
  }
  std::visit([&](auto& exec) { kernels::use_conv_algorithms(exec, algorithms); }, exec_);
}

void Device::measure_conv_algorithms() {
  if (!std::visit([](auto& exec) { return kernels::measure_conv_algorithms(exec); }, exec_)) {
    throw Error("convolution algorithms are cuDNN's: there are none to measure on the CPU; a GPU is needed");
  }
}

void Device::copy_in(void* device, const void* host, std::size_t bytes) {
  std::visit([&](auto& exec) { kernels::copy_to_device(exec, device, host, bytes); }, exec_);
}

void Device::copy_out(void* host, const void* device, std::size_t bytes) {
  std::visit([&](auto& exec) { kernels::copy_to_host(exec, host, device, bytes); }, exec_);
}

}  // namespace nepenthe
