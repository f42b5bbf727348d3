#include "engine/memory_need.h"

#include <fmt/format.h>

#include <cmath>
#include <new>

namespace nepenthe {

std::string describe_memory_need(Device& device, const std::string& what, int batch,
                                 const std::function<void(int count)>& step) {
  // What the steps' arena holds is free again, and what is taken for scratch memory stays what it is.
  const auto available = static_cast<double>(device.memory_for_steps());
  if (available == 0) throw std::bad_alloc();
  const int parts = device.parts();
  const std::string load =
      fmt::format("{} with a batch of {}{}", what, batch, parts > 1 ? fmt::format(", {} at once,", parts) : "");
  const auto mebibytes = [](double bytes) { return bytes / (1 << 20); };
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
    return fmt::format("{}: {:.0f} MiB of GPU memory are to be had, too few even for a batch of 16", load,
                       mebibytes(available));
  }
  const double each = (more - few) / 8, fixed = few - 8 * each;
  constexpr double chunk = 32 << 20;  // the arena takes memory in pieces, so some of it stays unused
  const double needed = parts * (fixed + each * batch + chunk);
  const auto fitting = static_cast<int>(std::floor((0.9 * available / parts - chunk - fixed) / each));
  const std::string advice = fitting >= 1 && fitting < batch ? fmt::format("; a batch of {} would fit", fitting) : "";
  return fmt::format("{} needs about {:.0f} MiB of GPU memory, {:.0f} MiB are to be had{}", load, mebibytes(needed),
                     mebibytes(available), advice);
}

}  // namespace nepenthe
