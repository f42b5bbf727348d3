// SGD (momentum, Nesterov) and Adam over a model's flat buffers.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "engine/parameters.h"
#include "engine/recipe.h"
#include "kernels/optimizers.h"

namespace nepenthe {

class Optimizer {
 public:
  /// Moments start at zero. Keeps a reference to parameters. `mask`, where given, has a byte for each float of the
  /// parameter buffer, on the device: where it is 0 neither the parameter nor its moments ever change.
  Optimizer(Parameters& parameters, const Recipe& recipe, const std::uint8_t* mask = nullptr);

  /// Begins anew, by a recipe that differs in epochs, learning rates and schedule alone: moments at zero, where they
  /// are.
  void restart(const Recipe& recipe);

  using LearningRates = std::array<float, kernels::StepControl::parameter_groups>;
  /// By parameter group: the recipe's times `factor`.
  LearningRates learning_rates(double factor) const;

  /// One step; its number and learning rates are in `control`, in device memory.
  void step(const kernels::StepControl* control);

  /// The moments as one flat tensor each, and the number of steps made; for resuming. load returns that number.
  void save(StateDict& state, std::int64_t steps) const;
  std::int64_t load(const StateDict& state);

 private:
  Parameters& parameters_;
  Recipe recipe_;
  std::vector<DeviceArray<float>> moments_;  // SGD: the velocity; Adam: first and second moment
  const std::uint8_t* mask_;
};

}  // namespace nepenthe
