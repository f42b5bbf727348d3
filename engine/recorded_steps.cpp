#include "engine/recorded_steps.h"

namespace nepenthe {

void RecordedSteps::run(int kind, const std::function<void()>& step) {
  const Device::StepScope scope(device_);
  const auto known = recordings_.find(kind);
  if (device_.eager() || known == recordings_.end()) {
    step();
    recordings_.emplace(kind, nullptr);
    return;
  }
  if (known->second == nullptr) {
    known->second = std::visit([&](auto& exec) { return kernels::record(exec, step); }, device_.exec());
  }
  known->second->replay();
}

std::size_t RecordedSteps::launches(int kind) const {
  const auto known = recordings_.find(kind);
  return known == recordings_.end() || known->second == nullptr ? 0 : known->second->launches();
}

}  // namespace nepenthe
