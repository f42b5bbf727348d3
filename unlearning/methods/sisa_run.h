// A SISA run in its folder (Bourtoule et al., "Machine unlearning", S&P 2021; STUDY §4): one network a shard, a
// checkpoint after every slice, and the record of everything forgotten.
//
//   run.json                        its identity, digests of the data and of P, the device that made it
//   manifest.jsonl                  what was done, in order: the source of truth (unlearning/provenance/journal.h)
//   shard-K/stage-T.safetensors     CP_T, T = 0 … slices (unlearning/provenance/checkpoint_store.h)
//   conv_algorithms.json            on CUDA, what computes its convolutions (engine/conv_algorithms_file.h)
//
// Every checkpoint names its *lineage* in its metadata: a digest over the identity, the shard and, for each stage so
// far, the ids of its samples and its recipe where that is not the run's. A checkpoint is valid while its lineage is
// the one that the journal calls for. So training, resuming and forgetting are one operation: drop the checkpoints that
// are not valid, make those missing. An interruption anywhere leaves a folder that complete() finishes, and equal runs
// end with equal bytes. One process at a time changes a run: whoever does holds the journal's lock.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"
#include "engine/device.h"
#include "engine/model_state.h"
#include "engine/training.h"
#include "unlearning/methods/training_set.h"
#include "unlearning/provenance/checkpoint_store.h"
#include "unlearning/provenance/run_record.h"
#include "unlearning/sisa_plan.h"

namespace nepenthe {

class SisaRun {
 public:
  /// Of the files and folders of a run.
  static constexpr std::array<std::string_view, 7> file_names{
      run_file,  journal_file,          conv_algorithms_file,       forgotten_file,
      "shard-#", "stage-#.safetensors", "stage-#.state.safetensors"};

  /// Makes the folder with run.json, `excluded` (sorted) as what is forgotten, and every shard's CP_0: freshly
  /// initialised by (seed, shard), or from `weights` with a fresh last layer where that has another number of classes.
  /// All or nothing: a folder that cannot be completed is not left behind. Throws UsageError where it exists already.
  static SisaRun create(const std::filesystem::path& folder, TrainingConfig config, const Dataset& dataset,
                        const std::vector<std::int32_t>& excluded, const std::filesystem::path& weights,
                        Device& device);

  /// Throws UsageError where there is no run, Error where it is damaged or an earlier version lost a request to it.
  static SisaRun open(const std::filesystem::path& folder);
  /// The same for a run that is about to forget: a lost request may be stated again.
  static SisaRun open_to_forget(const std::filesystem::path& folder);

  const std::filesystem::path& folder() const { return folder_; }
  const TrainingConfig& config() const { return facts_.config; }
  const SisaPlan& plan() const { return plan_; }
  const std::filesystem::path& data_folder() const { return facts_.data_folder; }
  /// The device that made the run: other devices may give other bits.
  const std::string& made_on() const { return facts_.device; }
  const std::vector<std::int32_t>& forgotten() const { return history_.forgotten; }
  /// The CPU kernels that made its checkpoints, as far as they are recorded; none where a CUDA device did.
  std::vector<std::string> cpu_revisions() const;
  /// What its networks started from (unlearning/provenance/origin.h), of a run of an earlier version its SHA-256 alone;
  /// null where they were freshly initialised.
  nlohmann::ordered_json weights() const;
  /// Whether the class names that requests go by are recorded; else a request is to record them ("class_names_digest").
  bool knows_class_names() const {
    return !config().class_names_digest.empty() || !history_.class_names_digest.empty();
  }

  /// Throws UsageError where `dataset` is not the data of this run, training or test part.
  void check_data(const Dataset& dataset) const;

  /// Has `device` compute as the run was made. Throws UsageError where its precision or a given engine is another.
  void require_device(Device& device) const;

  /// Keeps other processes from changing the run until complete() or carry_out() is done, and looks at it anew. Throws
  /// Error where another process works on it.
  void lock();
  /// What lock() removed: temporaries that killed programs left.
  const std::vector<std::filesystem::path>& cleared_up() const { return cleared_up_; }

  /// A file whose contents are damaged.
  struct Damage {
    int shard = 0, stage = 0;
    std::string what;  // names the file
  };
  /// Reads every checkpoint and state as a whole. Throws Error for a CP_0, which cannot be made again.
  std::vector<Damage> find_damage() const;

  /// All there is to do for the run to have forgotten `ids` too: per shard, the stages that have no valid
  /// checkpoint then, those with `damage` among them. Reads the checkpoints' headers only.
  SisaWork work(const std::vector<std::int32_t>& ids = {}, const std::vector<Damage>& damage = {}) const;

  /// Adds `ids` to what is forgotten, for good, and removes every checkpoint that has seen one of them.
  /// `request` (its specification and the like) goes into the journal. Either throws, and the request left no trace,
  /// or it is accepted, also where removing fails after that; from then on only complete() leads to a usable run. Keeps
  /// the lock. Throws UsageError where nothing would be left, Error where another process works on the run.
  void forget(const std::vector<std::int32_t>& ids, const nlohmann::ordered_json& request);

  /// From now on the stages of `work` are trained by another recipe (its epochs do not count): this goes into the
  /// journal and into their lineage. Throws UsageError for a recipe that cannot be used. Keeps the lock.
  void change_recipe(const SisaWork& work, const Recipe& recipe);

  struct Cost {
    std::int64_t sample_passes = 0;
    std::int64_t feature_passes = 0;  // pictures of which a frozen backbone's features were computed
    double train_seconds = 0;         // of several shards at once those of the busiest thread
  };
  /// Makes every checkpoint that is missing, shard by shard or with up to `parallel_shards` of them trained at once,
  /// each on its part of the device (engine/side_by_side.h): the bits are the same. The cost is that of the stages
  /// finished in this call. Throws Interrupted, leaving what a later call continues, Diverged, with the request still
  /// to be served, and Error where another process works on the run or a checkpoint to start from is damaged; the other
  /// shards then stop at their next step, as if interrupted.
  Cost complete(const Dataset& dataset, Device& device, Observer& observer, int parallel_shards = 1);
  /// The same, exactly as `work` says. Throws Error where that is no longer what there is to do.
  Cost carry_out(const SisaWork& work, const Dataset& dataset, Device& device, Observer& observer,
                 int parallel_shards = 1);

  /// Takes away the folder of a run whose training, `work`, has come to nothing: no stage of it is made and, but for
  /// `with_states`, no state is there to continue. False where there is something to resume, or something in the folder
  /// that is not the run's. The object is of no use after true.
  bool discard(const SisaWork& work, bool with_states);

  /// Where CP_stage of a shard is.
  std::filesystem::path checkpoint(int shard, int stage) const { return store_.checkpoint(shard, stage); }
  /// Shards with samples left: those that take part in the aggregate.
  std::vector<int> live_shards() const;
  /// Has `device` use the engines that the run has recorded, as complete() does: others give other bits.
  void use_recorded_algorithms(Device& device) const;
  /// Loads the final checkpoint of a shard. Throws Error where the run is not complete or the file damaged.
  void load_shard(int shard, ModelState& model) const;
  /// What lies in the run's folder and is not its own; it is left alone.
  std::vector<std::filesystem::path> foreign_files() const;

 private:
  SisaRun(std::filesystem::path folder, RunFacts facts);

  int slices() const { return static_cast<int>(facts_.config.epochs.size()); }
  /// Of CP_0 … CP_R of a shard, without `forgotten`.
  std::vector<std::string> lineages(int shard, const std::vector<std::int32_t>& forgotten) const;
  const Recipe& recipe_of(int shard, int stage) const;
  void record_algorithms(const Device& device) const;
  /// Has the journal say who makes which stages, before they are made.
  void record_training(const SisaWork& work, const Device& device);
  /// Writes CP_stage of a shard.
  void write_checkpoint(int shard, int stage, const std::string& lineage, const ModelState& model) const;
  /// Appends to the journal.
  void record(const nlohmann::ordered_json& entry);
  /// Has the journal take over from an earlier version's files, where it has not yet, with `ids` as what is forgotten.
  void adopt(const std::vector<std::int32_t>& ids, const nlohmann::ordered_json& request = nullptr);
  /// Every checkpoint that `work` makes again or that it does not know, and states that it does not continue.
  void remove_stale(const SisaWork& work) const;
  /// Loads what the first stage to make starts from into `model`, and prepares the shard's data.
  Cost prepare_shard(const ShardWork& shard, TrainingSet& data, ModelState& model, Observer& observer) const;
  Cost train_stage(const StageWork& work, int shard, const std::string& lineage, const TrainingSet& data,
                   Trainer& trainer, Observer& observer) const;
  Cost train_shards(const SisaWork& work, const Dataset& dataset, Device& device, Observer& observer,
                    int parallel_shards);

  std::filesystem::path folder_;
  RunFacts facts_;
  SisaPlan plan_;
  CheckpointStore store_;
  History history_;
  std::vector<std::filesystem::path> cleared_up_;
  std::shared_ptr<Journal> journal_;  // while this object holds the run's lock
};

}  // namespace nepenthe
