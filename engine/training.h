// The training loop: an objective, by a recipe, on a model.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "engine/base/error.h"
#include "engine/base/random.h"
#include "engine/objective.h"
#include "engine/observer.h"
#include "engine/recipe.h"

namespace nepenthe {

/// Thrown where a loss or a weight is not finite: the same training would end the same way.
struct Diverged : Error {
  using Error::Error;
};

/// One optimisation: how, and under which random numbers.
struct TrainingJob {
  Recipe recipe;
  RandomStream stream;  // seed, shard and stage; purpose and epoch are filled in
  std::string what;     // for messages: "shard 1, stage 3"
  /// Where the state goes on interruption, and at the end of an epoch where the last one is `save_every` old; the
  /// caller removes it when the result is safe. Empty: nowhere.
  std::filesystem::path state_file;
  std::chrono::milliseconds save_every = std::chrono::seconds(30);
  /// Names this job to its state file (configuration, data, ids): a state of another identity is not continued.
  std::string identity;
};

struct TrainingResult {
  std::int64_t sample_passes = 0;  // of this call; fewer than the whole job's where it was resumed
  double seconds = 0;              // likewise; training alone, device synchronised
  double loss = 0;                 // mean cross entropy of the last phase's first draw, likewise
  std::size_t launches = 0;        // kernels and copies in a captured first step; 0 where it is not captured
  std::size_t captures = 0;        // steps that this call has captured; earlier jobs' are replayed
};

struct TrainingOnDevice;

/// Trains a model, in one job or one after another. What a job has had on the device is there for the next one: the
/// optimiser's memory, the orders', and the captured steps, as far as the next one makes the same. They are the same
/// where only epochs, learning rates and schedule, random stream and ids are others.
class Trainer {
 public:
  /// Keeps a reference.
  explicit Trainer(ModelState& model);
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  ModelState& model() const { return model_; }

  /// Trains the model from its present numbers (or from the job's state file, where there is one of the same identity)
  /// with a fresh optimiser. Throws Diverged where a loss is not finite, saying in which epoch and step, and
  /// Interrupted. Whatever it throws, the next job may follow.
  TrainingResult run(Objective& objective, const TrainingJob& job, Observer& observer);

 private:
  ModelState& model_;
  std::unique_ptr<TrainingOnDevice> kept_;  // of the last job; null before the first
};

}  // namespace nepenthe
