// Times the CPU backend's ranges, where they are timed.
#pragma once

#include <chrono>

#include "kernels/profile.h"

namespace nepenthe::kernels {

struct RangeClock {
  using Clock = std::chrono::steady_clock;
  RangeTimes times;
  RangeTime* current = nullptr;
  Clock::time_point begin;
};

}  // namespace nepenthe::kernels
