// Steps that are issued once and then replayed.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "engine/device.h"
#include "kernels/capture.h"

namespace nepenthe {

/// Runs steps of a few kinds many times over: a kind's first step kernel by kernel, so that plans and scratch memory
/// come to be, its second captured and replayed, and all later ones replayed. On an eager device all kernel by kernel;
/// the bits are the same. Memory that a step takes is in the device's StepScope.
class CapturedSteps {
 public:
  explicit CapturedSteps(Device& device) : device_(device) {}

  /// `step` must issue the same work whenever it is given the same kind (the sizes of its batches), and must not wait
  /// for results; what changes between steps is in device memory. It is kept as long as this object. Returns whether it
  /// has been captured by this call.
  bool run(const std::vector<int>& kind, const std::function<void()>& step);

  /// Drops all other kinds.
  void keep(const std::set<std::vector<int>>& kinds);

  /// Kernels and copies in a captured step of this kind; 0 where it is not captured or they are not counted.
  std::size_t launches(const std::vector<int>& kind) const;

 private:
  Device& device_;
  std::map<std::vector<int>, std::unique_ptr<kernels::Capture>> captures_;  // null after the first step of a kind
};

}  // namespace nepenthe
