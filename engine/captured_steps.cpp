#include "engine/captured_steps.h"

namespace nepenthe {

void CapturedSteps::run(const std::vector<int>& kind, const std::function<void()>& step) {
  const Device::StepScope scope(device_);
  const auto known = captures_.find(kind);
  if (device_.eager() || known == captures_.end()) {
    step();
    captures_.emplace(kind, nullptr);
    return;
  }
  if (known->second == nullptr) {
    known->second = std::visit([&](auto& exec) { return kernels::capture(exec, step); }, device_.exec());
  }
  known->second->replay();
}

std::size_t CapturedSteps::launches(const std::vector<int>& kind) const {
  const auto known = captures_.find(kind);
  return known == captures_.end() || known->second == nullptr ? 0 : known->second->launches();
}

}  // namespace nepenthe
