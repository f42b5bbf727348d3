// What SISA has to train, for a whole run and for a deletion request, and what that costs (Bourtoule et al., "Machine
// unlearning", S&P 2021; STUDY §4). Shards count from 0, slices and stages from 1.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "unlearning/permutation.h"

namespace nepenthe {

struct StageWork {
  int stage = 0;         // t
  int epochs = 0;        // e_t
  int samples = 0;       // n_t: slices 1 … t without what is forgotten
  bool skipped = false;  // slice t is wholly forgotten: CP_t gets the tensors of CP_(t−1)
  /// Samples pushed through training: e_t·n_t, none where skipped.
  std::int64_t sample_passes() const { return skipped ? 0 : std::int64_t{epochs} * samples; }
};

struct ShardWork {
  int shard = 0;
  int samples = 0;                // left after forgetting; 0: the shard takes no part in the aggregate
  int first_stage = 0;            // m: start from CP_(m−1); 0: nothing to do
  std::vector<StageWork> stages;  // m … R; empty where nothing is to do
  bool nothing_to_do() const { return stages.empty(); }
  std::int64_t sample_passes() const;
};

struct SisaWork {
  std::vector<std::int32_t> forgotten;  // ids left out: everything forgotten so far with this request, sorted
  int newly_forgotten = 0;              // of them, the ids of this request that were not forgotten before
  std::vector<ShardWork> shards;        // one each, in order
  bool nothing_to_do() const;
  std::int64_t sample_passes() const;
  /// Samples of the stages trained, each counted once a stage: of so many a frozen backbone's features are computed.
  std::int64_t stage_samples() const;
  /// How many shards can be trained at once where `wanted` (from 1 on) may: not more than have something to train.
  int shards_at_once(int wanted) const;
};

/// A run's plan. Sets of ids may come in any order and name an id more than once; a function given an id outside the
/// data throws std::invalid_argument.
class SisaPlan {
 public:
  /// `permutation` is P; `epochs` holds e_1 … e_R, R slices. Throws as Partition, and UsageError for an epoch below 1.
  SisaPlan(std::vector<std::int32_t> permutation, int shards, std::vector<int> epochs);

  const Partition& partition() const { return partition_; }
  std::span<const std::int32_t> permutation() const { return permutation_; }
  std::span<const int> epochs() const { return epochs_; }

  /// The sample ids stage `t` of shard `k` trains on: slices 1 … t without `forgotten`, in P's order.
  std::vector<std::int32_t> stage_ids(int k, int t, std::span<const std::int32_t> forgotten) const;

  /// The ids of shard `k` that are in `ids`, sorted: F ∩ shard.
  std::vector<std::int32_t> within_shard(int k, std::span<const std::int32_t> ids) const;

  /// Training from scratch without `excluded`: every stage of every shard.
  SisaWork training(std::span<const std::int32_t> excluded) const;

  /// Forgetting `requested` where `already` is forgotten: per shard from m, the earliest slice that holds a newly
  /// forgotten sample, all stages up to R, leaving out the union.
  SisaWork request(std::span<const std::int32_t> already, std::span<const std::int32_t> requested) const;

 private:
  std::vector<bool> mark(std::span<const std::int32_t> ids) const;
  // Work of shard k from the stage `first` on; by position in P, what is forgotten.
  ShardWork shard_work(int k, int first, const std::vector<bool>& forgotten) const;

  std::vector<std::int32_t> permutation_, positions_;
  std::vector<int> epochs_;
  Partition partition_;
};

/// Analysis, to compare with what a plan counts. Expected sample passes of one request for a uniformly random sample of
/// a shard of D = `shard_samples`: (1/R)·Σ_m Σ_{t≥m} e_t·n_t with n_t = t·D/R (neglecting the sample left out).
double expected_request_passes(double shard_samples, std::span<const int> epochs);

/// The same for equal epochs 2e₀/(R+1) in every stage, which cost a shard as much as e₀ epochs without slices:
/// e₀·D·(2/3 + 1/(3R)) (SISA paper, appendix on slicing).
double expected_request_passes_equal_epochs(double shard_samples, double unsliced_epochs, int slices);

/// Expected number of shards that a batch of K uniformly random requests touches: S·(1 − (1 − 1/S)^K).
double expected_shards_touched(int shards, std::int64_t requests);

}  // namespace nepenthe
