// A SISA run on the study's sets: its accuracy and that of the ensemble, and the attack on it (STUDY §5).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "unlearning/attacks/mia.h"
#include "unlearning/evaluation.h"
#include "unlearning/methods/sisa_run.h"
#include "unlearning/metrics.h"

namespace nepenthe {

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
