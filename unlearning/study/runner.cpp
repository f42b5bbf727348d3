#include "unlearning/study/runner.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/in_the_making.h"
#include "engine/formats/json_fields.h"
#include "models/registry.h"
#include "models/weights.h"
#include "unlearning/attacks/roc.h"
#include "unlearning/evaluation.h"
#include "unlearning/forget_spec.h"
#include "unlearning/methods/single_model.h"
#include "unlearning/methods/sisa_run.h"
#include "unlearning/permutation.h"
#include "unlearning/study/commands.h"
#include "unlearning/study/run_scores.h"

namespace nepenthe {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

/// Raised where a record would hold something else under the same key.
constexpr int record_format = 1;
constexpr std::size_t key_digits = 12;

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count(); }

 private:
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

/// The same as in commands: it stands in the origin of what is made from it.
std::string network_name(const Experiment& experiment) { return fmt::format("{}.safetensors", experiment.name); }
std::string ids_file_name(const std::vector<std::int32_t>& ids) {
  return fmt::format("{}.txt", ids_digest(ids).substr(0, key_digits));
}
bool is_run(Method method) { return method == Method::sisa || method == Method::unlearning; }

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

std::vector<CurvePoint> read_curve(const fs::path& file) {
  std::map<int, CurvePoint> points;  // an epoch may have been done twice, with the same outcome
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    // A line that a crash cut off is that of an epoch which will be done again.
    if (const Json json = Json::parse(line, nullptr, false); !json.is_discarded()) {
      const CurvePoint point = curve_point_from_json(json);
      points[point.epoch] = point;
    }
  }
  std::vector<CurvePoint> curve;
  curve.reserve(points.size());
  for (const auto& [epoch, point] : points) curve.push_back(point);
  return curve;
}

}  // namespace

/// An experiment under its seeds, with what decides it.
struct StudyRunner::Plan {
  const Experiment& experiment;
  Seeds seeds;
  TrainingConfig config;  // complete
  std::vector<std::int32_t> permutation, forget, left_out;
  std::string left_out_by;
  std::string key;         // of what is made
  std::string record_key;  // of what is found
  std::shared_ptr<Plan> from;

  std::string name() const { return fmt::format("{}-{}", experiment.name, key.substr(0, key_digits)); }
};

/// What was made, or was there already.
struct StudyRunner::Made {
  fs::path path;  // a run's folder or a network's file
  StudyCost cost;
  std::vector<CurvePoint> curve;
};

StudyRunner::StudyRunner(fs::path folder, const std::vector<Experiment>& experiments, const Dataset& dataset,
                         std::string data, Device& device, Observer& observer,
                         std::function<void(const std::string&)> say)
    : folder_(std::move(folder)),
      experiments_(experiments),
      dataset_(dataset),
      data_(std::move(data)),
      device_(device),
      observer_(observer),
      say_(std::move(say)) {
  std::error_code told_below;
  fs::create_directories(folder_, told_below);
  for (const char* part : {"", "made", "records"}) make_folder(folder_ / part);
}

const Experiment& StudyRunner::experiment_named(const std::string& name) const {
  const auto found = std::ranges::find(experiments_, name, &Experiment::name);
  if (found == experiments_.end()) throw Error(fmt::format("the study has no experiment {}", name));
  return *found;
}

StudyRunner::Plan StudyRunner::plan(const Experiment& experiment, const Seeds& seeds) const {
  Plan plan{.experiment = experiment,
            .seeds = seeds,
            .config = experiment.config,
            .permutation = make_permutation(dataset_.train.count(), seeds.training),
            .forget = {},
            .left_out = {},
            .left_out_by = {},
            .key = {},
            .record_key = {},
            .from = {}};
  const bool fine_tunes = experiment.method == Method::fine_tuning;
  plan.config.seed = fine_tunes ? seeds.unlearning : seeds.training;
  if (!is_run(experiment.method)) plan.config.epochs = {experiment.config.recipe.epochs};
  complete_config(plan.config, dataset_, experiment.weights, device_);
  plan.forget = resolve_forget_spec(experiment.forget, forget_context(dataset_, plan.permutation, seeds.training));
  if (!experiment.from.empty())
    plan.from = std::make_shared<Plan>(this->plan(experiment_named(experiment.from), seeds));
  if (experiment.without_forget || fine_tunes) {
    plan.left_out = plan.forget;
    plan.left_out_by = forget_as_seen_by(plan, plan.config.seed);
  } else if (experiment.method == Method::training && experiment.config.shards > 1) {
    const PositionRange shard = Partition(dataset_.train.count(), experiment.config.shards, 1).shard(0);
    plan.left_out_by = fmt::format("range:{}-{}", shard.end, dataset_.train.count());
    plan.left_out.assign(plan.permutation.begin() + shard.end, plan.permutation.end());
    std::ranges::sort(plan.left_out);
  }
  Json decides{{"method", nepenthe::name(experiment.method)}, {"configuration", to_json(plan.config)}};
  if (!plan.left_out.empty()) decides["left_out"] = ids_digest(plan.left_out);
  if (plan.from) decides["from"] = plan.from->key;
  if (experiment.method == Method::unlearning) decides["forget"] = ids_digest(plan.forget);
  if (experiment.curve && !is_run(experiment.method)) decides["curve"] = true;
  plan.key = sha256_hex(decides.dump());
  const Json found{{"format", record_format},
                   {"made", plan.key},
                   {"forget", ids_digest(plan.forget)},
                   {"curve", experiment.curve},
                   {"evaluation_seed", seeds.evaluation},
                   {"test", dataset_.test.digest}};
  plan.record_key = sha256_hex(found.dump());
  return plan;
}

Record StudyRunner::run(const Experiment& experiment, const Seeds& seeds, const std::string& row) {
  const Plan plan = this->plan(experiment, seeds);
  const fs::path file = folder_ / "records" / fmt::format("{}-{}.json", row, plan.record_key.substr(0, key_digits));
  Record record;
  if (is_there(file)) {
    try {
      record = record_from_json(parse_object(as_text(read_file(file))));
    } catch (const Error& error) {
      throw Error(
          fmt::format("{}: {}; without that file its experiment is examined again", file.string(), error.what()));
    }
    say_(fmt::format("{}: found before", experiment.title));
  } else {
    const Made made = make(plan);
    record.cost = made.cost;
    record.curve = made.curve;
    record.forgotten = static_cast<std::int64_t>(plan.forget.size());
    if (is_run(experiment.method)) {
      examine_run(plan, made, record);
    } else {
      examine_network(plan, made, record);
    }
  }
  // What is said of an experiment may have changed without what was found.
  record.row = row;
  record.experiment = experiment;
  record.experiment.config = plan.config;
  record.seeds = seeds;
  record.key = plan.record_key;
  record.commands = commands(plan);
  write_file_atomically(file, fmt::format("{}\n", to_json(record).dump(2)));
  return record;
}

StudyRunner::Made StudyRunner::make(const Plan& plan) {
  if (plan.experiment.method == Method::weights) {
    return {.path = plan.experiment.weights, .cost = {.train_seconds = 0}, .curve = {}};
  }
  const fs::path folder = folder_ / "made" / plan.name(), cost_file = folder / "cost.json";
  // The time of a training that was interrupted is not known as a whole.
  const bool fresh = !is_there(folder);
  const bool done = is_there(cost_file);
  make_folder(folder);
  say_(fmt::format("{}: {}", plan.experiment.title, done ? "made before" : fresh ? "making" : "going on"));
  Made made = is_run(plan.experiment.method) ? make_run(plan) : make_network(plan);
  if (done) {
    made.cost.train_seconds = study_cost_from_json(parse_object(as_text(read_file(cost_file)))).train_seconds;
    return made;
  }
  if (!fresh) made.cost.train_seconds.reset();
  write_file_atomically(cost_file, fmt::format("{}\n", to_json(made.cost).dump(2)));
  return made;
}

StudyRunner::Made StudyRunner::make_network(const Plan& plan) {
  const fs::path folder = folder_ / "made" / plan.name();
  SingleModelTraining training{.model = plan.config.model,
                               .weights = plan.experiment.weights,
                               .left_out = plan.left_out,
                               .left_out_by = plan.left_out_by,
                               .recipe = plan.config.recipe,
                               .transfer = plan.config.transfer,
                               .seed = plan.config.seed,
                               .out = folder / network_name(plan.experiment)};
  if (plan.from) training.weights = make(*plan.from).path;
  clear_up_after(training.out);
  training.resume = is_there(training.out) || is_there(fmt::format("{}.state", training.out.string()));
  const std::vector<std::int32_t> retained = retained_ids(dataset_.train.count(), plan.left_out);
  const auto samples = static_cast<std::int64_t>(retained.size());
  const fs::path curve_file = folder / "curve.jsonl";
  std::optional<Evaluator> evaluator;
  if (plan.experiment.curve) {
    evaluator.emplace(device_, dataset_, preprocessing(plan.config.transfer, dataset_));
    training.epoch_ended = [&](int epoch, ModelState& model) {
      const std::vector<EvaluationSet> sets{
          {.name = "test", .test = true, .ids = evaluation_sets({"test"}, dataset_, {}).front().ids},
          {.name = "train", .test = false, .ids = retained}};
      const auto predictions = evaluator->predict(model, sets, plan.experiment.title, observer_);
      const auto of = [&](const std::string& set) {
        return measure(predictions.at(set).losses, predictions.at(set).ranks);
      };
      const Metrics test = of("test"), train = of("train");
      const CurvePoint point{.epoch = epoch + 1,
                             .sample_passes = samples * (epoch + 1),
                             .train_top1 = train.top1,
                             .train_top5 = train.top5,
                             .test_top1 = test.top1,
                             .test_top5 = test.top5};
      std::ofstream lines(curve_file, std::ios::app);
      lines << to_json(point).dump() << '\n' << std::flush;
      if (!lines) throw Error(fmt::format("{}: cannot be written", curve_file.string()));
    };
  }
  const SingleModelResult result = train_single_model(training, dataset_, device_, observer_);
  Made made{.path = training.out,
            .cost = {.sample_passes = samples * plan.config.recipe.epochs,
                     .multiply_adds = 0,
                     .train_seconds = result.training.seconds},
            .curve = {}};
  const std::int64_t feature_passes = plan.config.transfer.freeze_backbone ? samples : 0;
  made.cost.multiply_adds = training_multiply_adds(*make_architecture(plan.config.model, plan.config.classes),
                                                   plan.config.transfer, made.cost.sample_passes, feature_passes);
  if (plan.experiment.curve) made.curve = read_curve(curve_file);
  return made;
}

StudyRunner::Made StudyRunner::make_run(const Plan& plan) {
  const fs::path folder = folder_ / "made" / plan.name() / "run";
  const bool unlearns = plan.experiment.method == Method::unlearning;
  if (unlearns && !is_there(folder)) {
    const fs::path source = make(*plan.from).path;
    FolderInTheMaking copy(folder);
    fs::copy(source, copy.path(), fs::copy_options::recursive);
    copy.keep();
  }
  SisaRun run = is_there(folder)
                    ? SisaRun::open(folder)
                    : SisaRun::create(folder, plan.config, dataset_, plan.left_out, plan.experiment.weights, device_);
  run.check_data(dataset_);
  run.require_device(device_);
  run.lock();
  const std::vector<std::int32_t> before = unlearns ? plan.from->left_out : plan.left_out;
  const SisaWork whole = unlearns ? run.plan().request(before, plan.forget) : run.plan().training(before);
  if (unlearns && !std::ranges::includes(run.forgotten(), plan.forget)) {
    run.forget(plan.forget, {{"forget", plan.experiment.forget}});
  }
  const SisaRun::Cost cost = run.complete(dataset_, device_, observer_);
  std::int64_t feature_passes = 0;
  if (plan.config.transfer.freeze_backbone) {
    for (const ShardWork& shard : whole.shards) {
      for (const StageWork& stage : shard.stages) feature_passes += stage.skipped ? 0 : stage.samples;
    }
  }
  const auto architecture = make_architecture(plan.config.model, plan.config.classes);
  return {.path = folder,
          .cost = {.sample_passes = whole.sample_passes(),
                   .multiply_adds = training_multiply_adds(*architecture, plan.config.transfer, whole.sample_passes(),
                                                           feature_passes),
                   .train_seconds = cost.train_seconds},
          .curve = {}};
}

void StudyRunner::examine_network(const Plan& plan, const Made& made, Record& record) {
  const auto sets = evaluation_sets({"test", "train", "forget", "retain"}, dataset_, plan.forget);
  const Evaluator evaluator(device_, dataset_, preprocessing(plan.config.transfer, dataset_));
  ModelState model(device_, make_architecture(plan.config.model, dataset_.classes));
  load_weights(made.path, model);
  const Stopwatch evaluating;
  const auto predictions = evaluator.predict(model, sets, plan.experiment.title, observer_);
  record.cost.eval_seconds = evaluating.seconds();
  record.whole = examined("network", predictions);
  const Stopwatch attacking;
  record.whole.attack = membership_inference(predictions.at("forget").losses, predictions.at("test").losses,
                                             {.seed = plan.seeds.evaluation});
  record.cost.attack_seconds = attacking.seconds();
  record.losses = view_losses(predictions.at("forget").losses, predictions.at("test").losses);
  record.digests[made.path.filename().string()] = sha256_file(made.path);
}

void StudyRunner::examine_run(const Plan& plan, const Made& made, Record& record) {
  const SisaRun run = SisaRun::open(made.path);
  const auto sets = evaluation_sets({"test", "train", "forget", "retain"}, dataset_, plan.forget);
  const Evaluator evaluator(device_, dataset_, preprocessing(plan.config.transfer, dataset_));
  const RunScores scores = score_run(run, evaluator, sets, observer_);
  record.cost.eval_seconds = scores.seconds;
  const Stopwatch attacking;
  const RunMia mia = attack_run(run, scores, sets[2], {.seed = plan.seeds.evaluation});
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
  const int slices = static_cast<int>(plan.config.epochs.size());
  std::vector<MetricsSum> by_slice(static_cast<std::size_t>(slices));
  const std::vector<std::int32_t> positions = positions_of(plan.permutation);
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
  for (int shard = 0; shard < plan.config.shards; ++shard) {
    for (int stage = 0; stage <= slices; ++stage) {
      const fs::path file = run.checkpoint(shard, stage);
      record.digests[file.lexically_relative(made.path).string()] = sha256_file(file);
    }
  }

  if (plan.experiment.method == Method::unlearning) {
    RequestMap map;
    const SisaWork work = run.plan().request(plan.from->left_out, plan.forget);
    for (const ShardWork& shard : work.shards) {
      RequestMap::Shard& found = map.shards.emplace_back();
      found.samples.assign(static_cast<std::size_t>(slices), 0);
      found.forgotten.assign(static_cast<std::size_t>(slices), 0);
      found.first_stage = shard.first_stage;
      for (const StageWork& stage : shard.stages)
        (stage.skipped ? found.skipped : found.trained).push_back(stage.stage);
    }
    const auto count = [&](const std::vector<std::int32_t>& ids, std::vector<int> RequestMap::Shard::*counts) {
      for (const std::int32_t id : ids) {
        const auto place = run.plan().partition().slice_of(positions[static_cast<std::size_t>(id)]);
        ++(map.shards[static_cast<std::size_t>(place.shard)].*counts)[static_cast<std::size_t>(place.slice - 1)];
      }
    };
    count(retained_ids(dataset_.train.count(), plan.from->left_out), &RequestMap::Shard::samples);
    count(plan.forget, &RequestMap::Shard::forgotten);
    record.map = map;
  }

  if (plan.experiment.curve) {
    ModelState model(device_, make_architecture(plan.config.model, plan.config.classes));
    CurvePoint point;
    for (int stage = 1; stage <= slices; ++stage) {
      load_weights(run.checkpoint(0, stage), model);
      std::vector<std::int32_t> ids = run.plan().stage_ids(0, stage, run.forgotten());
      std::ranges::sort(ids);
      point.epoch += plan.config.epochs[static_cast<std::size_t>(stage - 1)];
      point.sample_passes +=
          std::int64_t{plan.config.epochs[static_cast<std::size_t>(stage - 1)]} * static_cast<std::int64_t>(ids.size());
      const std::vector<EvaluationSet> both{sets.front(), {.name = "train", .test = false, .ids = std::move(ids)}};
      const auto predictions = evaluator.predict(model, both, fmt::format("shard 0 after stage {}", stage), observer_);
      const auto of = [&](const std::string& set) {
        return measure(predictions.at(set).losses, predictions.at(set).ranks);
      };
      const Metrics test = of("test"), train = of("train");
      point.train_top1 = train.top1;
      point.train_top5 = train.top5;
      point.test_top1 = test.top1;
      point.test_top5 = test.top5;
      record.curve.push_back(point);
    }
  }
}

std::string StudyRunner::forget_as_seen_by(const Plan& plan, std::uint64_t program_seed) {
  // The bare name: it stands in the origin of what is made with it, wherever the study lies.
  return program_seed == plan.seeds.training ? plan.experiment.forget
                                             : fmt::format("ids:{}", ids_file_name(plan.forget));
}

std::vector<std::string> StudyRunner::commands(const Plan& plan) const {
  const Experiment& experiment = plan.experiment;
  const TrainingConfig& config = plan.config;
  const std::string data = shell_word(data_);
  const std::string precision = config.precision == "fp32" ? "" : fmt::format(" --precision {}", config.precision);
  const auto seed = [](std::uint64_t number) {
    return number == 1 ? std::string() : fmt::format(" --seed {}", number);
  };
  std::vector<std::string> list;
  if (plan.from) list = commands(*plan.from);
  // What examines the experiment before is not needed.
  std::erase_if(list, [](const std::string& command) { return command.starts_with("eval_"); });
  const auto forget_for = [&](std::uint64_t program_seed) {
    if (program_seed != plan.seeds.training) {
      const fs::path file = folder_ / "forget" / ids_file_name(plan.forget);
      if (!is_there(file)) {
        make_folder(file.parent_path());
        write_file_atomically(file, fmt::format("{}\n", fmt::join(plan.forget, "\n")));
      }
      const std::string copy = fmt::format("cp {} .", shell_word(file.string()));
      if (std::ranges::find(list, copy) == list.end()) list.push_back(copy);
    }
    return shell_word(forget_as_seen_by(plan, program_seed));
  };
  const std::string network = network_name(experiment);
  const auto start = [&] {
    if (plan.from && plan.from->experiment.method != Method::weights)
      return fmt::format(" --weights {}", network_name(plan.from->experiment));
    const fs::path file = plan.from ? plan.from->experiment.weights : experiment.weights;
    return file.empty() ? std::string() : fmt::format(" --weights {}", shell_word(file.string()));
  };
  std::string subject =
      fmt::format("--data {} --model {} --weights {}", data, config.model,
                  experiment.method == Method::weights ? shell_word(experiment.weights.string()) : network);
  switch (experiment.method) {
    case Method::weights: break;
    case Method::training:
      list.push_back(
          fmt::format("train_model --data {} --model {} --epochs {}{}{}{}{}{} --out {}", data, config.model,
                      config.recipe.epochs, options_of(config, {}), start(),
                      plan.left_out_by.empty() ? "" : fmt::format(" --exclude {}", shell_word(plan.left_out_by)),
                      seed(config.seed), precision, network));
      break;
    case Method::fine_tuning: {
      const std::string forget = forget_for(config.seed);
      list.push_back(fmt::format("unlearn_finetune --data {} --model {} --epochs {}{}{} --forget {}{}{} --out {}", data,
                                 config.model, config.recipe.epochs, options_of(config, {.nesterov = false}), start(),
                                 forget, seed(config.seed), precision, network));
      break;
    }
    case Method::sisa:
      list.push_back(fmt::format(
          "train_sisa --data {} --model {} --shards {} --slices {} --epochs {}{}{}{}{}{} --out {}", data, config.model,
          config.shards, config.epochs.size(), fmt::join(config.epochs, ","), options_of(config, {}), start(),
          plan.left_out_by.empty() ? "" : fmt::format(" --exclude {}", shell_word(plan.left_out_by)), seed(config.seed),
          precision, experiment.name));
      break;
    case Method::unlearning:
      list.push_back(fmt::format("cp -r {} {}", plan.from->experiment.name, experiment.name));
      list.push_back(fmt::format("unlearn_sisa --run {} --forget {}{}", experiment.name, shell_word(experiment.forget),
                                 precision));
      break;
  }
  if (is_run(experiment.method)) subject = fmt::format("--run {}", experiment.name);
  const std::string forget = forget_for(is_run(experiment.method) ? plan.seeds.training : plan.seeds.evaluation);
  list.push_back(fmt::format("eval_model {} --split test,train,forget,retain --forget {}{}{}", subject, forget,
                             is_run(experiment.method) ? "" : seed(plan.seeds.evaluation), precision));
  list.push_back(fmt::format("eval_mia {} --forget {}{}{}", subject, forget, seed(plan.seeds.evaluation), precision));
  return list;
}

std::string row_name(const Experiment& experiment, const Seeds& seeds, bool several) {
  if (!several) return experiment.name;
  return fmt::format("{}@{}.{}.{}", experiment.name, seeds.training, seeds.unlearning, seeds.evaluation);
}

namespace {

/// A record's values by their paths in its JSON, without times and what names it.
std::map<std::string, std::string> values_of(const Record& record) {
  Json json = to_json(record);
  for (const char* key : {"train_seconds", "eval_seconds", "attack_seconds"}) json["cost"].erase(key);
  for (const char* key : {"row", "commands"}) json.erase(key);
  std::map<std::string, std::string> values;
  const Json flat = json.flatten();
  for (const auto& [path, value] : flat.items()) values[path] = value.dump();
  return values;
}

}  // namespace

std::vector<std::string> differences(const Record& a, const Record& b) {
  const auto before = values_of(a), after = values_of(b);
  std::vector<std::string> lines;
  for (const auto& [path, value] : before) {
    const auto other = after.find(path);
    if (other == after.end()) {
      lines.push_back(fmt::format("{}: {}, and now nothing", path, value));
    } else if (other->second != value) {
      lines.push_back(fmt::format("{}: {}, and now {}", path, value, other->second));
    }
  }
  for (const auto& [path, value] : after) {
    if (!before.contains(path)) lines.push_back(fmt::format("{}: nothing, and now {}", path, value));
  }
  return lines;
}

std::int64_t values_compared(const Record& record) { return static_cast<std::int64_t>(values_of(record).size()); }

}  // namespace nepenthe
