#include "unlearning/study/examination.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>

#include "engine/base/file.h"
#include "models/registry.h"
#include "models/weights.h"
#include "unlearning/attacks/roc.h"
#include "unlearning/forget_spec.h"
#include "unlearning/study/run_scores.h"

namespace nepenthe {
namespace {

namespace fs = std::filesystem;

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count(); }

 private:
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

Examined examined(std::string who, const std::map<std::string, Predictions>& predictions) {
  Examined result{.who = std::move(who),
                  .attack = {.mia = {}, .reason = "not attacked"},
                  .own = {.mia = {}, .reason = "one network has no shards"}};
  for (const auto& [set, of_set] : predictions) result.sets[set] = measure(of_set.losses, of_set.ranks);
  return result;
}

template <class Loss>
LossView view_losses(const std::vector<Loss>& forget, const std::vector<Loss>& test) {
  constexpr double lowest = -5, width = 0.25;  // log10 of nats
  constexpr int bins = 26;                     // up to 10^1.5 = 31.6
  LossView view{.edges = {},
                .forget = std::vector<std::int64_t>(bins, 0),
                .test = std::vector<std::int64_t>(bins, 0),
                .fpr = {},
                .tpr = {}};
  for (int edge = 0; edge <= bins; ++edge) view.edges.push_back(std::pow(10, lowest + width * edge));
  const auto count = [&](const std::vector<Loss>& losses, std::vector<std::int64_t>& counts) {
    for (const Loss loss : losses) {
      const double place = loss > 0 ? (std::log10(static_cast<double>(loss)) - lowest) / width : 0;
      ++counts[static_cast<std::size_t>(std::clamp(place, 0.0, bins - 1.0))];
    }
  };
  count(forget, view.forget);
  count(test, view.test);
  // Dense where the axis is logarithmic: a new point where one of the rates has grown by two percent.
  constexpr double growth = 1.02;
  const std::vector<double> members(forget.begin(), forget.end()), nonmembers(test.begin(), test.end());
  const auto curve = RocOrder(members, nonmembers).curve();
  for (const auto& [fpr, tpr] : curve) {
    const bool last = fpr == 1 && tpr == 1;
    if (!last && !view.fpr.empty() && fpr <= view.fpr.back() * growth && tpr <= view.tpr.back() * growth) continue;
    view.fpr.push_back(fpr);
    view.tpr.push_back(tpr);
    if (last) break;
  }
  return view;
}

}  // namespace

void examine_network(const Examination& of, const fs::path& file, Record& record) {
  const auto sets = evaluation_sets({"test", "train", "forget", "retain"}, of.dataset, of.forget);
  const Evaluator evaluator(of.device, of.dataset, preprocessing(of.config.transfer, of.dataset));
  ModelState model(of.device, make_architecture(of.config.model, of.dataset.classes));
  load_weights(file, model);
  const Stopwatch evaluating;
  const auto predictions = evaluator.predict(model, sets, of.title, of.observer);
  record.cost.eval_seconds = evaluating.seconds();
  record.whole = examined("network", predictions);
  const Stopwatch attacking;
  record.whole.attack = membership_inference(predictions.at("forget").losses, predictions.at("test").losses,
                                             {.seed = of.evaluation_seed});
  record.cost.attack_seconds = attacking.seconds();
  record.losses = view_losses(predictions.at("forget").losses, predictions.at("test").losses);
  record.digests[file.filename().string()] = sha256_file(file);
}

void examine_run(const Examination& of, const SisaRun& run, Record& record) {
  const auto sets = evaluation_sets({"test", "train", "forget", "retain"}, of.dataset, of.forget);
  const Evaluator evaluator(of.device, of.dataset, preprocessing(of.config.transfer, of.dataset));
  const RunScores scores = score_run(run, evaluator, sets, of.observer);
  record.cost.eval_seconds = scores.seconds;
  const Stopwatch attacking;
  const RunMia mia = attack_run(run, scores, sets[2], {.seed = of.evaluation_seed});
  record.cost.attack_seconds = attacking.seconds();

  record.whole = {.who = "mean posterior",
                  .sets = {},
                  .attack = mia.ensemble,
                  .own = {.mia = {}, .reason = "the ensemble has no shard of its own"}};
  record.vote = Examined{.who = "majority vote",
                         .sets = {},
                         .attack = {.mia = {}, .reason = "votes have no loss"},
                         .own = {.mia = {}, .reason = "votes have no loss"}};
  for (const EvaluationSet& set : sets) {
    const EnsembleScores& ensemble = scores.ensemble.at(set.name);
    record.whole.sets[set.name] = measure(ensemble.losses, ensemble.mean_posterior_ranks);
    record.vote->sets[set.name] = measure_ranks(ensemble.majority_vote_ranks);
  }
  record.losses = view_losses(scores.ensemble.at("forget").losses, scores.ensemble.at("test").losses);
  const int slices = static_cast<int>(of.config.epochs.size());
  std::vector<MetricsSum> by_slice(static_cast<std::size_t>(slices));
  const std::vector<std::int32_t> positions = positions_of(run.plan().permutation());
  for (std::size_t i = 0; i < scores.shards.size(); ++i) {
    const int shard = scores.shards[i];
    Examined& found = record.shards.emplace_back(examined(fmt::format("shard {}", shard), scores.predictions[i]));
    found.attack = mia.shards[i].whole;
    found.own = mia.shards[i].own;
    const Predictions& train = scores.predictions[i].at("train");
    for (std::size_t id = 0; id < train.ranks.size(); ++id) {
      const auto place = run.plan().partition().slice_of(positions[id]);
      const bool seen = !std::ranges::binary_search(run.forgotten(), static_cast<std::int32_t>(id));
      if (place.shard == shard && seen)
        by_slice[static_cast<std::size_t>(place.slice - 1)].add(train.losses[id], train.ranks[id]);
    }
  }
  for (const MetricsSum& slice : by_slice) record.slices.push_back(slice.result());
  for (int shard = 0; shard < of.config.shards; ++shard) {
    for (int stage = 0; stage <= slices; ++stage) {
      const fs::path file = run.checkpoint(shard, stage);
      record.digests[file.lexically_relative(run.folder()).string()] = sha256_file(file);
    }
  }
}

RequestMap map_of_request(const SisaPlan& plan, const std::vector<std::int32_t>& already,
                          const std::vector<std::int32_t>& forget) {
  RequestMap map;
  const auto slices = static_cast<std::size_t>(plan.partition().slices());
  const std::vector<std::int32_t> positions = positions_of(plan.permutation());
  const SisaWork work = plan.request(already, forget);
  for (const ShardWork& shard : work.shards) {
    RequestMap::Shard& found = map.shards.emplace_back();
    found.samples.assign(slices, 0);
    found.forgotten.assign(slices, 0);
    found.first_stage = shard.first_stage;
    for (const StageWork& stage : shard.stages) (stage.skipped ? found.skipped : found.trained).push_back(stage.stage);
  }
  const auto count = [&](const std::vector<std::int32_t>& ids, std::vector<int> RequestMap::Shard::*counts) {
    for (const std::int32_t id : ids) {
      const auto place = plan.partition().slice_of(positions[static_cast<std::size_t>(id)]);
      ++(map.shards[static_cast<std::size_t>(place.shard)].*counts)[static_cast<std::size_t>(place.slice - 1)];
    }
  };
  count(retained_ids(plan.partition().samples(), already), &RequestMap::Shard::samples);
  count(forget, &RequestMap::Shard::forgotten);
  return map;
}

std::vector<CurvePoint> curve_of_run(const Examination& of, const SisaRun& run) {
  const Evaluator evaluator(of.device, of.dataset, preprocessing(of.config.transfer, of.dataset));
  ModelState model(of.device, make_architecture(of.config.model, of.config.classes));
  std::vector<CurvePoint> curve;
  CurvePoint point;
  for (int stage = 1; stage <= static_cast<int>(of.config.epochs.size()); ++stage) {
    load_weights(run.checkpoint(0, stage), model);
    std::vector<std::int32_t> ids = run.plan().stage_ids(0, stage, run.forgotten());
    std::ranges::sort(ids);
    const int epochs = of.config.epochs[static_cast<std::size_t>(stage - 1)];
    point.epoch += epochs;
    point.sample_passes += std::int64_t{epochs} * static_cast<std::int64_t>(ids.size());
    take_accuracy(point, evaluator, model, std::move(ids), fmt::format("shard 0 after stage {}", stage), of.observer);
    curve.push_back(point);
  }
  return curve;
}

void take_accuracy(CurvePoint& point, const Evaluator& evaluator, ModelState& model,
                   std::vector<std::int32_t> trained_on, const std::string& what, Observer& observer) {
  std::vector<EvaluationSet> sets = evaluation_sets({"test"}, evaluator.dataset(), {});
  sets.push_back({.name = "train", .test = false, .ids = std::move(trained_on)});
  const auto predictions = evaluator.predict(model, sets, what, observer);
  const auto of = [&](const std::string& set) {
    return measure(predictions.at(set).losses, predictions.at(set).ranks);
  };
  const Metrics test = of("test"), train = of("train");
  point.train_top1 = train.top1;
  point.train_top5 = train.top5;
  point.test_top1 = test.top1;
  point.test_top5 = test.top5;
}

}  // namespace nepenthe
