#include "unlearning/study/training_rate.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <numeric>
#include <vector>

#include "engine/side_by_side.h"
#include "engine/training.h"
#include "models/registry.h"
#include "unlearning/methods/training_set.h"

namespace nepenthe {

double TrainingRate::seconds(const SisaWork& work) const {
  const double each = 1.0 / parallel_shards;
  // As SisaRun does: who is done takes the next shard.
  std::vector<double> busy(static_cast<std::size_t>(parallel_shards));
  for (const ShardWork& shard : work.shards) {
    double& first_done = *std::ranges::min_element(busy);
    first_done += static_cast<double>(shard.sample_passes()) / (each * samples_per_second);
    if (features_per_second > 0 && shard.sample_passes() > 0) {
      first_done += shard.samples / (each * features_per_second);
    }
  }
  return std::ranges::max(busy);
}

TrainingRate measure_training_rate(const TrainingConfig& config, const Dataset& dataset, Device& device,
                                   Observer& observer, int parallel_shards) {
  constexpr int steps = 5;
  std::vector<std::int32_t> ids(static_cast<std::size_t>(std::min(steps * config.recipe.batch, dataset.train.count())));
  std::iota(ids.begin(), ids.end(), 0);
  TrainingJob job{.recipe = config.recipe, .stream = {.seed = config.seed}, .what = config.model};
  job.recipe.epochs = 1;
  const TrainingSet all_data(device, dataset, config.transfer);
  TrainingRate rate{.parallel_shards = parallel_shards};
  std::mutex mutex;
  side_by_side(parallel_shards, device, observer, [&](Device& own_device, Observer& own_observer) {
    ModelState model(own_device, make_architecture(config.model, config.classes));
    model.initialize({.seed = config.seed, .purpose = purpose::initialization});
    TrainingSet data(own_device, all_data);
    const auto began = std::chrono::steady_clock::now();
    data.prepare(model, ids, own_observer);
    const std::chrono::duration<double> prepared = std::chrono::steady_clock::now() - began;
    CrossEntropy objective = data.objective(ids, config.recipe.batch);
    // The first training also makes plans, memory and captured steps.
    Trainer trainer(model);
    trainer.run(objective, job, own_observer);
    const TrainingResult timed = trainer.run(objective, job, own_observer);
    const std::lock_guard lock(mutex);
    rate.samples_per_second += static_cast<double>(timed.sample_passes) / timed.seconds;
    if (config.transfer.freeze_backbone) rate.features_per_second += static_cast<double>(ids.size()) / prepared.count();
  });
  return rate;
}

}  // namespace nepenthe
