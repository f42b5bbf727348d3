#include "unlearning/evaluation.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <numeric>
#include <span>

#include "engine/error.h"
#include "models/registry.h"
#include "unlearning/forget_spec.h"

namespace nepenthe {
namespace {

constexpr int evaluation_batch = 512;

std::vector<std::int32_t> all_ids(int count) {
  std::vector<std::int32_t> ids(count);
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

/// The rows of `from` (over the sorted ids `from_ids`) for the sorted ids `ids`, each of which is among them.
Predictions select(const Predictions& from, const std::vector<std::int32_t>& from_ids,
                   const std::vector<std::int32_t>& ids) {
  if (ids.size() == from_ids.size()) return from;
  Predictions part{.classes = from.classes, .logits = {}, .losses = {}, .ranks = {}};
  part.logits.reserve(ids.size() * from.classes);
  for (const std::int32_t id : ids) {
    const auto row = std::ranges::lower_bound(from_ids, id) - from_ids.begin();
    const auto logits = std::span(from.logits).subspan(row * from.classes, from.classes);
    part.logits.insert(part.logits.end(), logits.begin(), logits.end());
    part.losses.push_back(from.losses[row]);
    part.ranks.push_back(from.ranks[row]);
  }
  return part;
}

}  // namespace

std::vector<EvaluationSet> evaluation_sets(const std::vector<std::string>& names, const Dataset& dataset,
                                           const std::vector<std::int32_t>& forgotten) {
  std::vector<EvaluationSet> sets;
  for (const std::string& set_name : names) {
    if ((set_name == "forget" || set_name == "retain") && forgotten.empty()) {
      throw UsageError(fmt::format("--split {}: nothing is forgotten; --forget says what", set_name));
    }
    if (set_name == "test") {
      sets.push_back({set_name, true, all_ids(dataset.test.count())});
    } else if (set_name == "train") {
      sets.push_back({set_name, false, all_ids(dataset.train.count())});
    } else if (set_name == "forget") {
      sets.push_back({set_name, false, forgotten});
    } else if (set_name == "retain") {
      require_something_retained(dataset.train.count(), forgotten);
      sets.push_back({set_name, false, retained_ids(dataset.train.count(), forgotten)});
    } else {
      throw UsageError(fmt::format("--split {}: test, train, forget and retain are known", set_name));
    }
  }
  return sets;
}

Evaluator::Evaluator(Device& device, const Dataset& dataset)
    : device_(device),
      dataset_(dataset),
      train_(device, dataset.train.pixels, dataset.train.labels, dataset.normalization),
      test_(device, dataset.test.pixels, dataset.test.labels, dataset.normalization) {}

std::map<std::string, Predictions> Evaluator::predict(Network& network, const std::vector<EvaluationSet>& sets,
                                                      const std::string& what, Observer& observer) const {
  std::map<std::string, Predictions> results;
  std::vector<std::int32_t> needed;  // of the training data
  for (const EvaluationSet& set : sets) {
    if (set.test) {
      results[set.name] =
          nepenthe::predict(network, test_, set.ids, evaluation_batch, what + " on the test set", observer);
    } else {
      std::vector<std::int32_t> both;
      std::ranges::set_union(needed, set.ids, std::back_inserter(both));
      needed = std::move(both);
    }
  }
  if (needed.empty()) return results;
  const Predictions train =
      nepenthe::predict(network, train_, needed, evaluation_batch, what + " on the training set", observer);
  for (const EvaluationSet& set : sets) {
    if (!set.test) results[set.name] = select(train, needed, set.ids);
  }
  return results;
}

std::vector<std::int32_t> labels_of(const EvaluationSet& set, const Dataset& dataset) {
  const std::vector<std::int32_t>& labels = (set.test ? dataset.test : dataset.train).labels;
  std::vector<std::int32_t> selected;
  selected.reserve(set.ids.size());
  for (const std::int32_t id : set.ids) selected.push_back(labels[id]);
  return selected;
}

RunScores score_run(const SisaRun& run, const Evaluator& evaluator, const std::vector<EvaluationSet>& sets,
                    Observer& observer) {
  const auto began = std::chrono::steady_clock::now();
  RunScores scores;
  const auto network = make_network(evaluator.device(), run.config().model, run.config().classes);
  run.use_recorded_engines(evaluator.device());
  for (const int shard : run.live_shards()) {
    run.load_shard(shard, *network);
    scores.shards.push_back(shard);
    scores.predictions.push_back(
        evaluator.predict(*network, sets, fmt::format("shard {} of {}", shard, run.config().shards), observer));
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
