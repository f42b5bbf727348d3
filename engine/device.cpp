#include "engine/device.h"

#include <fmt/format.h>

#include "engine/error.h"
#include "kernels/memory.h"

namespace nepenthe {
namespace {

kernels::Exec open_exec(const DeviceSettings& settings) {
  if (settings.kind == "cuda") {
    throw Error("--device cuda: this build has no CUDA backend; --device cpu or auto would run on the CPU");
  }
  if (settings.kind != "cpu" && settings.kind != "auto") {
    throw UsageError(fmt::format("--device {}: no such device; auto, cpu and cuda are", settings.kind));
  }
  if (settings.precision != Precision::fp32) {
    throw UsageError(fmt::format("--precision {}: the CPU backend computes in fp32 only", name(settings.precision)));
  }
  try {
    return kernels::CpuExec(settings.threads);
  } catch (const std::invalid_argument& error) {
    throw UsageError(error.what());
  }
}

}  // namespace

Device::Device(const DeviceSettings& settings)
    : exec_(open_exec(settings)),
      arena_(
          [this](std::size_t bytes) {
            return std::visit([&](auto& exec) { return kernels::allocate(exec, bytes); }, exec_);
          },
          [this](void* memory) { std::visit([&](auto& exec) { kernels::release(exec, memory); }, exec_); }),
      precision_(settings.precision) {
  if (settings.kind == "auto") reason_ = "this build has no CUDA backend";
}

std::string Device::description() const {
  return std::visit([](const auto& exec) { return exec.description(); }, exec_);
}

void Device::copy_in(void* device, const void* host, std::size_t bytes) {
  std::visit([&](auto& exec) { kernels::copy_to_device(exec, device, host, bytes); }, exec_);
}

void Device::copy_out(void* host, const void* device, std::size_t bytes) {
  std::visit([&](auto& exec) { kernels::copy_to_host(exec, host, device, bytes); }, exec_);
}

std::string name(Precision precision) {
  switch (precision) {
    case Precision::fp32: return "fp32";
    case Precision::tf32: return "tf32";
    case Precision::bf16: return "bf16";
  }
  return "?";
}

}  // namespace nepenthe
