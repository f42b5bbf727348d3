#pragma once

#include "engine/architecture.h"
#include "engine/layers.h"
#include "engine/ops/pool.h"

namespace nepenthe::tests {

/// A network small enough to be trained many times.
class SmallNetwork : public Architecture {
 public:
  SmallNetwork()
      : Architecture("small", 5),
        conv_(layout_, "conv", 3, 16, 3, 2),
        norm_(layout_, "bn", 16),
        fc_(layout_, "fc", 16, 5, ParameterGroup::head) {}
  Variable forward(Pass& pass, Parameters& parameters, const Variable& images) const override {
    const Variable hidden = norm_(pass, parameters, conv_(pass, parameters, images), true);
    return fc_(pass, parameters, ops::global_avg_pool(pass, hidden));
  }
  std::int64_t multiply_adds(int) const override { return 0; }

 private:
  Conv2d conv_;
  BatchNorm2d norm_;
  Linear fc_;
};

}  // namespace nepenthe::tests
