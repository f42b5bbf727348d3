#include "unlearning/study/training_rate.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "engine/training.h"
#include "models/registry.h"
#include "unlearning/methods/training_set.h"

namespace nepenthe {

double TrainingRate::seconds(const SisaWork& work) const {
  const double features = features_per_second > 0 ? static_cast<double>(work.stage_samples()) / features_per_second : 0;
  return static_cast<double>(work.sample_passes()) / samples_per_second + features;
}

TrainingRate measure_training_rate(const TrainingConfig& config, const Dataset& dataset, Device& device,
                                   Observer& observer) {
  constexpr int steps = 5;
  ModelState model(device, make_architecture(config.model, config.classes));
  model.initialize({.seed = config.seed, .purpose = purpose::initialization});
  std::vector<std::int32_t> ids(static_cast<std::size_t>(std::min(steps * config.recipe.batch, dataset.train.count())));
  std::iota(ids.begin(), ids.end(), 0);
  TrainingSet data(device, dataset, config.transfer);
  const auto began = std::chrono::steady_clock::now();
  data.prepare(model, ids, observer);
  const std::chrono::duration<double> prepared = std::chrono::steady_clock::now() - began;
  CrossEntropy objective = data.objective(ids, config.recipe.batch);
  TrainingJob job{.recipe = config.recipe, .stream = {.seed = config.seed}, .what = config.model};
  job.recipe.epochs = 1;
  // The first training also makes plans and memory.
  train(model, objective, job, observer);
  const TrainingResult timed = train(model, objective, job, observer);
  const bool frozen = config.transfer.freeze_backbone;
  return {.samples_per_second = static_cast<double>(timed.sample_passes) / timed.seconds,
          .features_per_second = frozen ? static_cast<double>(ids.size()) / prepared.count() : 0};
}

}  // namespace nepenthe
