#include "unlearning/study/run_scores.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <span>

#include "models/registry.h"

namespace nepenthe {

RunScores score_run(const SisaRun& run, const Evaluator& evaluator, const std::vector<EvaluationSet>& sets,
                    Observer& observer) {
  const auto began = std::chrono::steady_clock::now();
  RunScores scores;
  ModelState model(evaluator.device(), make_architecture(run.config().model, run.config().classes));
  run.use_recorded_algorithms(evaluator.device());
  for (const int shard : run.live_shards()) {
    run.load_shard(shard, model);
    scores.shards.push_back(shard);
    scores.predictions.push_back(
        evaluator.predict(model, sets, fmt::format("shard {} of {}", shard, run.config().shards), observer));
  }
  for (const EvaluationSet& set : sets) {
    std::vector<std::span<const float>> logits;
    for (const auto& predictions : scores.predictions) logits.emplace_back(predictions.at(set.name).logits);
    scores.ensemble.emplace(set.name,
                            score_ensemble(logits, run.config().classes, labels_of(set, evaluator.dataset())));
  }
  scores.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return scores;
}

RunMia attack_run(const SisaRun& run, const RunScores& scores, const EvaluationSet& forget,
                  const MiaSettings& settings) {
  RunMia result;
  double sum = 0;
  int attacks = 0;
  for (std::size_t i = 0; i < scores.shards.size(); ++i) {
    const std::vector<float>& members = scores.predictions[i].at("forget").losses;
    const std::vector<float>& nonmembers = scores.predictions[i].at("test").losses;
    std::vector<float> own;
    for (const std::int32_t id : run.plan().within_shard(scores.shards[i], forget.ids)) {
      own.push_back(members[std::ranges::lower_bound(forget.ids, id) - forget.ids.begin()]);
    }
    RunMia::Shard shard{.shard = scores.shards[i],
                        .whole = membership_inference(members, nonmembers, settings),
                        .own = own.empty() ? MiaOutcome{.mia = {}, .reason = "no forgotten sample lies in this shard"}
                                           : membership_inference(own, nonmembers, settings)};
    if (shard.whole.mia) {
      sum += shard.whole.mia->mean;
      ++attacks;
    }
    result.shards.push_back(std::move(shard));
  }
  if (attacks > 0) result.mean = sum / attacks;
  const std::vector<double>& members = scores.ensemble.at("forget").losses;
  result.ensemble = membership_inference(members, scores.ensemble.at("test").losses, settings);
  return result;
}

}  // namespace nepenthe
