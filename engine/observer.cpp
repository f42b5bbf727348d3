#include "engine/observer.h"

namespace nepenthe {

Glances::Glances(Device& device, Observer& observer) : always_(observer.every_step() || !device.waits_for_results()) {}

bool Glances::due() {
  const auto now = Clock::now();
  if (!always_ && now - last_ < std::chrono::milliseconds(200)) return false;
  last_ = now;
  return true;
}

}  // namespace nepenthe
