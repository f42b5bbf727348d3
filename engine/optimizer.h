// SGD (momentum, Nesterov) and Adam over a model's flat buffers.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/parameters.h"
#include "engine/recipe.h"
#include "kernels/optimizers.h"

namespace nepenthe {

class Optimizer {
 public:
  /// Moments start at zero. Two parameter groups: the last layer (`fc.*`) and the rest. Keeps a reference to
  /// parameters.
  Optimizer(Parameters& parameters, const Recipe& recipe);

  /// One step with the recipe's learning rates times `factor`.
  void step(double factor);

  std::int64_t steps() const { return steps_; }

  /// The moments as one flat tensor each, and the number of steps; for resuming.
  void save(StateDict& state) const;
  void load(const StateDict& state);

 private:
  Parameters& parameters_;
  Recipe recipe_;
  std::vector<DeviceArray<float>> moments_;  // SGD: the velocity; Adam: first and second moment
  std::size_t fc_begin_ = 0;                 // where the last layer starts in the flat buffers
  std::int64_t steps_ = 0;
};

}  // namespace nepenthe
