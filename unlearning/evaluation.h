// Evaluating networks and runs on the study's sets, and attacking them (STUDY §5).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "engine/image_set.h"
#include "engine/network.h"
#include "engine/trainer.h"
#include "unlearning/metrics.h"
#include "unlearning/mia.h"
#include "unlearning/sisa_run.h"

namespace nepenthe {

/// A named set of samples: all or part of the training or the test data, ids sorted.
struct EvaluationSet {
  std::string name;  // test, train, forget or retain
  bool test = false;
  std::vector<std::int32_t> ids;
};

/// The sets with these names; forget and retain by `forgotten` (sorted ids of the training data). Throws UsageError for
/// another name, or for forget and retain where nothing is forgotten.
std::vector<EvaluationSet> evaluation_sets(const std::vector<std::string>& names, const Dataset& dataset,
                                           const std::vector<std::int32_t>& forgotten);

/// Runs networks over sets of one data set, which goes to the device once.
class Evaluator {
 public:
  Evaluator(Device& device, const Dataset& dataset);

  /// By set name, samples in the sets' order. Each picture is computed once, also where sets overlap. `what` is for the
  /// progress.
  std::map<std::string, Predictions> predict(Network& network, const std::vector<EvaluationSet>& sets,
                                             const std::string& what, Observer& observer) const;

  Device& device() const { return device_; }
  const Dataset& dataset() const { return dataset_; }

 private:
  Device& device_;
  const Dataset& dataset_;
  ImageSet train_, test_;
};

/// Labels of a set's samples.
std::vector<std::int32_t> labels_of(const EvaluationSet& set, const Dataset& dataset);

/// What a run says of the sets: each live shard by itself, and the ensemble.
struct RunScores {
  std::vector<int> shards;                                      // the live ones
  std::vector<std::map<std::string, Predictions>> predictions;  // one each, by set
  std::map<std::string, EnsembleScores> ensemble;               // by set
  double seconds = 0;                                           // evaluation alone
};
RunScores score_run(const SisaRun& run, const Evaluator& evaluator, const std::vector<EvaluationSet>& sets,
                    Observer& observer);

/// The attack on a run: members are the ids of the set "forget", non-members the set "test".
struct RunMia {
  struct Shard {
    int shard = 0;
    MiaOutcome whole;  // on the whole forget set
    MiaOutcome own;    // on its part in this shard; no attack where that is empty
  };
  std::vector<Shard> shards;
  std::optional<double> mean;  // of the shards' MIA on the whole set
  MiaOutcome ensemble;         // on the mean posterior's losses
};
RunMia attack_run(const SisaRun& run, const RunScores& scores, const EvaluationSet& forget,
                  const MiaSettings& settings);

}  // namespace nepenthe
