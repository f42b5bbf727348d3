// What a training wants: which samples each step draws, what is asked of each batch, and what happens between epochs.
// The training loop (engine/training.h) knows objectives, not methods: a new method is a class derived from Objective.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/recipe.h"
#include "engine/sample_set.h"

namespace nepenthe {

/// What is asked of one batch: a sum of losses, each a mean over the batch times a signed weight. A negative weight
/// moves away from what its loss asks for.
struct Losses {
  double cross_entropy = 1;  // with the labels
  /// Of the model's posterior from a frozen teacher's, both softened by the temperature:
  /// T²/b · Σ KL(softmax(teacher/T) ‖ softmax(model/T)) (Hinton et al. 2015). The teacher is in evaluation mode.
  double distillation = 0;
  ModelState* teacher = nullptr;
  double temperature = 1;

  bool operator==(const Losses&) const = default;
};

/// One batch of every step: from which samples, how many, and what is asked of it.
struct Draw {
  const SampleSet* samples;
  std::vector<std::int32_t> ids;  // of the sample set, each once
  int batch;
  Losses losses;
};

/// A part of an epoch made of steps of one kind. A step makes a forward and a backward pass for one batch of each draw,
/// whose gradients add up, and then one step of the optimiser. The steps are as many as the first draw has batches; the
/// other draws begin again where they run out. An epoch visits a draw's samples in an order keyed by their ids.
struct Phase {
  /// Phases of one name differ in nothing but the ids.
  std::string name;
  std::vector<Draw> draws;
};

class Objective {
 public:
  virtual ~Objective() = default;

  /// What an epoch, counted from 0, consists of, in order. Called several times; must say the same for the same epoch.
  virtual std::vector<Phase> phases(int epoch) const = 0;
  /// The factor on the recipe's learning rates.
  virtual double rate_factor(const Recipe& recipe, int epoch) const {
    return schedule_factor(recipe.schedule, epoch, recipe.epochs);
  }
  /// A byte for each float of the parameter buffer, on the device: where it is 0 the parameter never changes. Null: all
  /// may change.
  virtual const std::uint8_t* mask() const { return nullptr; }
  /// After an epoch's last step, before a state is saved. One that throws Interrupted comes again when the training
  /// goes on.
  virtual void epoch_ended(int /*epoch*/, ModelState& /*model*/) {}
};

/// Plain supervised training: cross entropy on batches of one set of samples; `mask` is Objective::mask().
class CrossEntropy : public Objective {
 public:
  CrossEntropy(const SampleSet& samples, std::vector<std::int32_t> ids, int batch, const std::uint8_t* mask = nullptr);
  std::vector<Phase> phases(int epoch) const override;
  const std::uint8_t* mask() const override { return mask_; }

 private:
  Phase phase_;
  const std::uint8_t* mask_;
};

}  // namespace nepenthe
