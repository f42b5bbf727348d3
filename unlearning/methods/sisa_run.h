// A SISA run in its folder (Bourtoule et al., "Machine unlearning", S&P 2021; STUDY §4): one network a shard, a
// checkpoint after every slice, and the record of everything forgotten.
//
//   run.json                        configuration, digests of the data and of P, the device that trained it
//   forgotten.json                  ids of everything forgotten so far, with their digest
//   shard-K/stage-T.safetensors     CP_T, T = 0 … slices
//   conv_algorithms.json            on CUDA, what computes its convolutions (engine/conv_algorithms_file.h)
//   manifest.jsonl                  what was done, in order
//
// Every checkpoint names its *lineage* in its metadata: a digest over the configuration, the shard and the ids of the
// samples of each stage so far. A checkpoint is valid while its lineage is the one that the run's forgotten set calls
// for. So training, resuming and forgetting are one operation: drop the checkpoints that are not valid, make those
// missing. An interruption anywhere leaves a folder that complete() finishes, and equal runs end with equal bytes.
// One process at a time changes a run: forget() and complete() hold a lock on run.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "engine/device.h"
#include "engine/model_state.h"
#include "engine/recipe.h"
#include "engine/training.h"
#include "unlearning/sisa_plan.h"

namespace nepenthe {

struct SisaConfig {
  std::string model;
  int classes = 0;
  int samples = 0;  // of the training data
  int shards = 4;
  std::vector<int> epochs{8, 7, 6, 5, 4};  // one number a slice
  Recipe recipe;                           // its epochs are those above
  std::uint64_t seed = 1;
  std::string precision = "fp32";
  std::string data_digest;     // of the training data
  std::string weights_digest;  // SHA-256 of the file the networks started from; empty: freshly initialised
  std::string
      conv_algorithms_digest;  // of cuDNN's engines given by --conv-algorithms; empty: cuDNN's first suggestions
};

class SisaRun {
 public:
  /// Makes the folder with run.json, `excluded` (sorted) as what is forgotten, and every shard's CP_0: freshly
  /// initialised by (seed, shard), or from `weights` with a fresh last layer where that has another number of classes.
  /// All or nothing: a folder that cannot be completed is not left behind. Throws UsageError where it exists already.
  static SisaRun create(const std::filesystem::path& folder, SisaConfig config, const Dataset& dataset,
                        const std::vector<std::int32_t>& excluded, const std::filesystem::path& weights,
                        Device& device);

  /// Throws UsageError where there is no run, Error where it is damaged.
  static SisaRun open(const std::filesystem::path& folder);

  const std::filesystem::path& folder() const { return folder_; }
  const SisaConfig& config() const { return config_; }
  const SisaPlan& plan() const { return plan_; }
  const std::filesystem::path& data_folder() const { return data_folder_; }
  /// The device that made the run: other devices may give other bits.
  const std::string& made_on() const { return made_on_; }
  const std::vector<std::int32_t>& forgotten() const { return forgotten_; }

  /// Throws UsageError where `dataset` is not the data of this run, training or test part.
  void check_data(const Dataset& dataset) const;

  /// What complete() would do now: per shard, the stages that have no valid checkpoint.
  SisaWork pending() const;

  /// Adds `ids` to what is forgotten, for good, and removes every checkpoint that has seen one of them. `request` (its
  /// specification and the like) goes into the manifest. From here on only complete() leads to a usable run. Throws
  /// UsageError where nothing would be left, Error where another process works on the run.
  void forget(const std::vector<std::int32_t>& ids, const nlohmann::ordered_json& request);

  struct Cost {
    std::int64_t sample_passes = 0;
    double train_seconds = 0;
    Cost& operator+=(const Cost& other);
  };
  /// Makes every checkpoint that is missing, shard by shard; the cost is that of the stages finished in this call.
  /// Throws Interrupted, leaving what a later call continues, and Error where another process works on the run.
  Cost complete(const Dataset& dataset, Device& device, Observer& observer);

  /// Where CP_stage of a shard is.
  std::filesystem::path checkpoint(int shard, int stage) const;
  /// Shards with samples left: those that take part in the aggregate.
  std::vector<int> live_shards() const;
  /// Has `device` use the engines that the run has recorded, as complete() does: others give other bits.
  void use_recorded_algorithms(Device& device) const;
  /// Loads the final checkpoint of a shard. Throws Error where the run is not complete.
  void load_shard(int shard, ModelState& model) const;

 private:
  SisaRun(std::filesystem::path folder, SisaConfig config);

  std::filesystem::path state_file(int shard, int stage) const;
  /// Of CP_0 … CP_R of a shard, without what is forgotten.
  std::vector<std::string> lineages(int shard) const;
  /// How many of CP_0, CP_1, … in a row are there and valid.
  int valid_checkpoints(int shard) const;
  void save_checkpoint(int shard, int stage, const std::string& lineage, StateDict state) const;
  void append_to_manifest(nlohmann::ordered_json entry) const;
  bool manifest_ends_completed() const;
  void record_algorithms(const Device& device) const;
  /// Everything in the shards' folders but valid checkpoints and the state of the training that comes next.
  void remove_what_is_not_valid() const;
  /// An exclusive lock on the run, with forgotten_ as it is now. Throws Error where another process has it.
  std::shared_ptr<void> lock();
  Cost train_stage(const StageWork& work, int shard, const std::string& lineage, const ImageSet& images,
                   ModelState& model, Observer& observer) const;

  std::filesystem::path folder_;
  SisaConfig config_;
  SisaPlan plan_;
  std::vector<std::int32_t> forgotten_;
  std::filesystem::path data_folder_;
  std::string made_on_;
  std::string test_digest_;
  std::shared_ptr<void> lock_;  // between forget() and complete()
};

}  // namespace nepenthe
