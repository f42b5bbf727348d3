// How well a model classifies: top-1, top-5 and loss, of one network or of SISA's ensemble (STUDY §4 and §5).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace nepenthe {

/// Of one set of samples. Fractions in [0, 1]; for an empty set NaN (null in JSON) and no loss.
struct Metrics {
  std::int64_t count = 0;
  double top1 = 0, top5 = 0;
  std::optional<double> loss;  // mean cross entropy in nats; none where the scores are no probabilities
};

/// Collects a set's samples; the same bits for the same samples in the same order.
class MetricsSum {
 public:
  /// `rank`: how many classes stand before the true one (kernels/softmax_cross_entropy.h, true_class_rank).
  void add(double loss, std::int32_t rank);
  Metrics result() const;

 private:
  std::int64_t count_ = 0, top1_ = 0, top5_ = 0;
  double loss_ = 0;
};

/// losses, ranks: (N), of the same samples. Throws std::invalid_argument where their numbers differ.
Metrics measure(std::span<const float> losses, std::span<const std::int32_t> ranks);
Metrics measure(std::span<const double> losses, std::span<const std::int32_t> ranks);
/// Without a loss.
Metrics measure_ranks(std::span<const std::int32_t> ranks);

/// What an ensemble says about N samples.
struct EnsembleScores {
  std::vector<float> log_posterior;                // (N, classes): log of the mean posterior, the ensemble's "logits"
  std::vector<double> losses;                      // (N): −log of the mean posterior of the true class
  std::vector<std::int32_t> mean_posterior_ranks;  // (N): of the true class by mean posterior, ties to the lower class
  std::vector<std::int32_t> majority_vote_ranks;   // (N): by votes, then summed posterior, then the lower class
};

/// Aggregates the shards' logits, each (N, classes), row major; shards with nothing left are not passed. A shard votes
/// for its largest logit, ties to the lower class. Posteriors are each shard's softmax in double, their mean taken by
/// log-sum-exp over log posteriors, so that tiny ones stay exact; the order of the shards changes nothing. A row with a
/// non-finite logit in any shard has NaN as loss and log posterior and ranks last (classes − 1).
/// labels: (N), in [0, classes). Throws std::invalid_argument for no shards, sizes that do not fit or a wrong label.
EnsembleScores score_ensemble(std::span<const std::span<const float>> logits, int classes,
                              std::span<const std::int32_t> labels);

}  // namespace nepenthe
