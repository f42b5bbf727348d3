#include "unlearning/study/runner.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/in_the_making.h"
#include "engine/formats/json_fields.h"
#include "models/registry.h"
#include "unlearning/forget_spec.h"
#include "unlearning/methods/single_model.h"
#include "unlearning/methods/sisa_run.h"
#include "unlearning/permutation.h"
#include "unlearning/study/commands.h"
#include "unlearning/study/examination.h"

namespace nepenthe {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

/// Raised where a record would hold something else under the same key.
constexpr int record_format = 1;
constexpr std::size_t key_digits = 12;

/// The same as in commands: it stands in the origin of what is made from it.
std::string network_name(const Experiment& experiment) { return fmt::format("{}.safetensors", experiment.name); }
std::string ids_file_name(const std::vector<std::int32_t>& ids) {
  return fmt::format("{}.txt", ids_digest(ids).substr(0, key_digits));
}
bool is_run(Method method) { return method == Method::sisa || method == Method::unlearning; }

/// One point a line. The file comes before the state of its epoch: an epoch whose state was lost is done again.
std::vector<CurvePoint> read_curve(const fs::path& file) {
  std::vector<CurvePoint> curve;
  if (!is_there(file)) return curve;
  const std::vector<std::byte> bytes = read_file(file);
  std::istringstream lines{std::string(as_text(bytes))};
  for (std::string line; std::getline(lines, line);) curve.push_back(curve_point_from_json(parse_object(line)));
  return curve;
}

void write_curve(const fs::path& file, const std::vector<CurvePoint>& curve) {
  std::string lines;
  for (const CurvePoint& point : curve) lines += fmt::format("{}\n", to_json(point).dump());
  write_file_atomically(file, lines);
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
                         std::function<void(const std::string&)> say, int parallel_shards)
    : folder_(std::move(folder)),
      experiments_(experiments),
      dataset_(dataset),
      data_(std::move(data)),
      device_(device),
      observer_(observer),
      say_(std::move(say)),
      parallel_shards_(parallel_shards) {
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
    examine(plan, made, record);
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
      CurvePoint point{.epoch = epoch + 1, .sample_passes = samples * (epoch + 1)};
      take_accuracy(point, *evaluator, model, retained, plan.experiment.title, observer_);
      std::vector<CurvePoint> curve = read_curve(curve_file);
      std::erase_if(curve, [&](const CurvePoint& before) { return before.epoch >= point.epoch; });
      curve.push_back(point);
      write_curve(curve_file, curve);
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
  const SisaRun::Cost cost = run.complete(dataset_, device_, observer_, parallel_shards_);
  const std::int64_t feature_passes = plan.config.transfer.freeze_backbone ? whole.stage_samples() : 0;
  const auto architecture = make_architecture(plan.config.model, plan.config.classes);
  return {.path = folder,
          .cost = {.sample_passes = whole.sample_passes(),
                   .multiply_adds = training_multiply_adds(*architecture, plan.config.transfer, whole.sample_passes(),
                                                           feature_passes),
                   .train_seconds = cost.train_seconds},
          .curve = {}};
}

void StudyRunner::examine(const Plan& plan, const Made& made, Record& record) {
  const Examination examination{.dataset = dataset_,
                                .device = device_,
                                .observer = observer_,
                                .config = plan.config,
                                .forget = plan.forget,
                                .evaluation_seed = plan.seeds.evaluation,
                                .title = plan.experiment.title};
  if (!is_run(plan.experiment.method)) return examine_network(examination, made.path, record);
  const SisaRun run = SisaRun::open(made.path);
  examine_run(examination, run, record);
  if (plan.experiment.method == Method::unlearning) {
    record.map = map_of_request(run.plan(), plan.from->left_out, plan.forget);
  }
  if (plan.experiment.curve) record.curve = curve_of_run(examination, run);
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
