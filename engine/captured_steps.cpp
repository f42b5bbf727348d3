#include "engine/captured_steps.h"

namespace nepenthe {

bool CapturedSteps::run(const std::vector<int>& kind, const std::function<void()>& step) {
  const Device::StepScope scope(device_);
  const auto known = captures_.find(kind);
  if (device_.eager() || known == captures_.end()) {
    step();
    captures_.emplace(kind, nullptr);
    return false;
  }
  const bool captures = known->second == nullptr;
  if (captures) {
    known->second = std::visit([&](auto& exec) { return kernels::capture(exec, step); }, device_.exec());
  }
  known->second->replay();
  return captures;
}

void CapturedSteps::keep(const std::set<std::vector<int>>& kinds) {
  std::erase_if(captures_, [&](const auto& known) { return !kinds.contains(known.first); });
}

std::size_t CapturedSteps::launches(const std::vector<int>& kind) const {
  const auto known = captures_.find(kind);
  return known == captures_.end() || known->second == nullptr ? 0 : known->second->launches();
}

}  // namespace nepenthe
