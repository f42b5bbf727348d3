#include "engine/memory_need.h"

#include <fmt/format.h>

#include <cmath>
#include <new>

#include "kernels/memory.h"

namespace nepenthe {

std::string describe_memory_need(Device& device, const std::string& what, int batch,
                                 const std::function<void(int count)>& step) {
  const auto use = [&] { return std::visit([](auto& exec) { return kernels::memory_use(exec); }, device.exec()); };
  if (use().available == 0 && use().workspace == 0) throw std::bad_alloc();
  const auto mebibytes = [](double bytes) { return bytes / (1 << 20); };
  // What the steps' arena holds is free again, and what is taken for scratch memory stays what it is.
  const double available = static_cast<double>(use().available + device.step_arena().reserved_bytes());
  const auto bytes_of = [&](int count) {
    const Device::StepScope scope(device);
    device.step_arena().restart_peak();
    step(count);
    return static_cast<double>(device.step_arena().peak_bytes());
  };
  double few = 0, more = 0;
  try {
    few = bytes_of(8);
    more = bytes_of(16);
  } catch (const std::bad_alloc&) {
    return fmt::format("{} with a batch of {}: {:.0f} MiB of GPU memory are to be had, too few even for a batch of 16",
                       what, batch, mebibytes(available));
  }
  const double each = (more - few) / 8, fixed = few - 8 * each;
  constexpr double chunk = 32 << 20;  // the arena takes memory in pieces, so some of it stays unused
  const double needed = fixed + each * batch + chunk;
  const auto fitting = static_cast<int>(std::floor((0.9 * available - chunk - fixed) / each));
  const std::string advice = fitting >= 1 && fitting < batch ? fmt::format("; a batch of {} would fit", fitting) : "";
  return fmt::format("{} with a batch of {} needs about {:.0f} MiB of GPU memory, {:.0f} MiB are to be had{}", what,
                     batch, mebibytes(needed), mebibytes(available), advice);
}

}  // namespace nepenthe
