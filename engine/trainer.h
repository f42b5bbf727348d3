// The training loop, and its counterpart for evaluation.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/base/error.h"
#include "engine/base/random.h"
#include "engine/image_set.h"
#include "engine/network.h"
#include "engine/recipe.h"
#include "kernels/profile.h"

namespace nepenthe {

/// Thrown at a safe point after stop_requested(): what was done so far is in the job's state file, if it has one.
struct Interrupted : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Thrown where a loss or a weight is not finite: the same training would end the same way.
struct Diverged : Error {
  using Error::Error;
};

/// Watches a long computation; every call comes from the computing thread.
class Observer {
 public:
  virtual ~Observer() = default;
  struct Progress {
    int epoch, epochs;                    // counted from 0
    std::int64_t samples, samples_total;  // of this job
    double loss, accuracy;                // running means of this epoch so far; NaN where there is none
  };
  virtual void begin(const std::string& /*what*/) {}
  virtual void progress(const Progress&) {}
  virtual bool stop_requested() { return false; }
  /// Whether progress() has to come after every step, at the price that a GPU may wait for it; else now and then there.
  virtual bool every_step() { return false; }
};

/// One optimisation: which samples, how, and under which random numbers.
struct TrainingJob {
  std::vector<std::int32_t> ids;  // of the image set
  Recipe recipe;
  RandomStream stream;  // seed, shard and stage; purpose and epoch are filled in
  std::string what;     // for messages: "shard 1, stage 3"
  /// Where the state goes at the end of each epoch and on interruption; the caller removes it when the result is safe.
  /// Empty: nowhere.
  std::filesystem::path state_file;
  /// Names this job to its state file (configuration, data, ids): a state of another identity is not continued.
  std::string identity;
};

struct TrainingResult {
  std::int64_t sample_passes = 0;  // of this call; fewer than the whole job's where it was resumed
  double seconds = 0;              // likewise; training alone, device synchronised
  double loss = 0;                 // mean over the last epoch, likewise
  std::size_t launches = 0;        // kernels and copies in a captured step of a whole batch; 0 where it is not captured
};

/// Trains `network` from its present weights (or from the job's state file, where there is one of the same identity)
/// with a fresh optimiser. Each epoch visits all ids in a keyed order; the last batch may be smaller, and a last batch
/// of one sample joins the one before. Throws Diverged where a loss is not finite, saying in which epoch and step, and
/// Interrupted. Saved states carry a digest of their contents; one that does not fit it is an Error.
TrainingResult train(Network& network, const ImageSet& images, const TrainingJob& job, Observer& observer);

/// Where a training step's time goes on the device, by op: one step of the job's batch issued kernel by kernel behind
/// captured ones, which keep the device busy meanwhile. Changes the weights. Empty on the CPU. Throws
/// std::invalid_argument for a job of less than 3 batches.
kernels::RangeTimes profile_step(Network& network, const ImageSet& images, const TrainingJob& job);

/// Whether `file` is there and says to hold the state of a training with this identity; reads its header alone.
bool is_training_state(const std::filesystem::path& file, const std::string& identity);

/// The sizes of an epoch's batches.
std::vector<int> batch_sizes(int samples, int batch);

/// What a network says of given samples, in their order.
struct Predictions {
  int classes = 0;
  std::vector<float> logits;        // (N, classes)
  std::vector<float> losses;        // (N), cross entropy
  std::vector<std::int32_t> ranks;  // (N), of the true class: 0 is right
};

/// Evaluation mode, no augmentation; `what` is for the progress. Throws Interrupted.
Predictions predict(Network& network, const ImageSet& images, const std::vector<std::int32_t>& ids, int batch,
                    const std::string& what, Observer& observer);

}  // namespace nepenthe
