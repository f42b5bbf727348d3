#pragma once

#include "engine/architecture.h"
#include "engine/layers.h"
#include "engine/ops/pool.h"

namespace nepenthe::tests {

/// A network small enough to be trained many times.
class SmallNetwork : public Architecture {
 public:
  SmallNetwork()
      : Architecture("small", 5, 8),
        conv_(layout_, "conv", 3, 16, 3, 2),
        norm_(layout_, "bn", 16),
        fc_(layout_, "fc", 16, 5, ParameterGroup::head) {}
  Variable features(Pass& pass, Parameters& parameters, const Variable& images) const override {
    return ops::global_avg_pool(pass, norm_(pass, parameters, conv_(pass, parameters, images), true));
  }
  Variable classify(Pass& pass, Parameters& parameters, const Variable& features) const override {
    return fc_(pass, parameters, features);
  }
  std::int64_t multiply_adds(int) const override { return 0; }
  std::int64_t head_multiply_adds() const override { return fc_.multiply_adds(); }

 private:
  Conv2d conv_;
  BatchNorm2d norm_;
  Linear fc_;
};

}  // namespace nepenthe::tests
