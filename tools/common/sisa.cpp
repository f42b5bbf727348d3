#include "tools/common/sisa.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <exception>
#include <nlohmann/json.hpp>
#include <system_error>

#include "engine/base/error.h"
#include "kernels/revision.h"
#include "models/registry.h"
#include "tools/common/options.h"
#include "tools/common/transfer.h"
#include "unlearning/provenance/origin.h"
#include "unlearning/study/record.h"
#include "unlearning/study/table.h"

namespace nepenthe {
namespace {

using Json = nlohmann::ordered_json;

std::string resume_command(const std::filesystem::path& run) {
  return fmt::format("unlearn_sisa --run {} --resume", run.string());
}

}  // namespace

SisaRun open_run(const std::filesystem::path& folder, bool to_forget) {
  try {
    return to_forget ? SisaRun::open_to_forget(folder) : SisaRun::open(folder);
  } catch (const UsageError& error) {
    throw UsageError(fmt::format("{}; train_sisa makes one", error.what()));
  }
}

void require_finished(const SisaRun& run) {
  if (const SisaWork work = run.work(); !work.nothing_to_do()) {
    throw Error(fmt::format("{}: the run is not finished, {} sample passes are left to make; {} finishes it",
                            run.folder().string(), grouped(work.sample_passes()), resume_command(run.folder())));
  }
}

void tell_of_leftovers(const Program& program, const SisaRun& run) {
  for (const auto& path : run.cleared_up()) {
    program.say(fmt::format("note: {}: left by a killed program, and removed", path.string()));
  }
  std::string list;
  for (const auto& path : run.foreign_files()) list += (list.empty() ? "" : ", ") + path.string();
  if (list.empty()) return;
  program.say(
      fmt::format("note: not the run's own, and left alone, also where they hold what is to be forgotten: {}", list));
}

void tell_of_weights(Program& program, const Json& weights) {
  program.result()["weights"] = weights;
  if (weights.contains(origin_key)) program.say(fmt::format("weights: {}", weights_in_words(weights)));
}

std::vector<SisaRun::Damage> tell_of_damage(const Program& program, const SisaRun& run) {
  std::vector<SisaRun::Damage> damage = run.find_damage();
  for (const SisaRun::Damage& damaged : damage) program.say(fmt::format("note: {}", damaged.what));
  return damage;
}

Dataset read_run_data(Program& program, const SisaRun& run, const std::filesystem::path& folder) {
  std::error_code unknown;
  if (folder.empty() && !std::filesystem::is_directory(run.data_folder(), unknown)) {
    throw UsageError(
        fmt::format("the run's data is no longer at {}; --data says where it is now", run.data_folder().string()));
  }
  if (folder.empty()) program.places().reads_folder(run.data_folder(), "the run's data", dataset_file_names);
  Dataset dataset = read_dataset(folder.empty() ? run.data_folder() : folder);
  run.check_data(dataset);
  if (const Json weights = run.weights(); !weights.is_null()) {
    program.say(fmt::format("the run started from {}", weights_in_words(weights)));
  }
  if (!run.knows_class_names()) {
    program.say(
        fmt::format("note: {}: an earlier version made it and did not record its class names; a class means what "
                    "the names in {} say",
                    run.folder().string(), dataset.folder.string()));
  }
  return dataset;
}

Device& open_device(Program& program, const SisaRun& run) {
  program.prefer_isa(run.config().isa);
  Device& device = program.device();
  const std::string here = device.description();
  if (run.made_on() != here) {
    program.say(fmt::format("note: the run was made on {}, this is {}: results may differ in the last bits",
                            run.made_on(), here));
  }
  std::vector<std::string> others = run.cpu_revisions();
  std::erase(others, kernels::cpu_revision);
  if (device.isa() && !others.empty()) {
    program.say(fmt::format("note: {} made checkpoints of the run, these are {}: results may differ in the last bits",
                            fmt::join(others, ", "), kernels::cpu_revision));
  }
  return device;
}

void add_parallel_shards(CLI::App& app, int& parallel_shards) {
  add_whole_number(app, "--parallel-shards", parallel_shards, 1,
                   "Shards trained at once, at most; on the CPU they share --threads, one each at least. The bits are "
                   "the same");
}

SisaRun::Cost carry_out(SisaRun& run, const SisaWork& work, const Dataset& dataset, Device& device, Observer& observer,
                        int parallel_shards, bool is_new) {
  const auto discarded = [&](const std::exception& error, bool with_states) {
    if (!is_new || !run.discard(work, with_states)) return;
    throw Error(fmt::format("{}; nothing was made, and {} is removed", error.what(), run.folder().string()));
  };
  try {
    return run.carry_out(work, dataset, device, observer, parallel_shards);
  } catch (const Interrupted& interrupted) {
    throw Interrupted(
        fmt::format("{}; train_sisa --out {} --resume continues", interrupted.what(), run.folder().string()));
  } catch (const Diverged& diverged) {
    discarded(diverged, true);
    throw Error(
        fmt::format("{}; the run still has it to do, and {} --lr N (or another option of the recipe) gives the "
                    "stages left to make another recipe",
                    diverged.what(), resume_command(run.folder())));
  } catch (const Error& error) {
    discarded(error, false);
    throw Error(fmt::format("{}; {} does what is left to do", error.what(), resume_command(run.folder())));
  }
}

Json run_json(const SisaRun& run) {
  const TrainingConfig& config = run.config();
  return {{"folder", run.folder().string()},
          {"model", config.model},
          {"classes", config.classes},
          {"samples", config.samples},
          {"shards", config.shards},
          {"epochs", config.epochs},
          {"recipe", to_json(config.recipe)},
          {"transfer", to_json(config.transfer)},
          {"seed", config.seed},
          {"data_digest", config.data_digest},
          {"made_on", run.made_on()},
          {"kernels", run.cpu_revisions()},
          {"weights", run.weights()},
          {"forgotten", run.forgotten().size()}};
}

Json run_cost_json(const SisaRun& run, const SisaRun::Cost& cost, double eval_seconds) {
  const auto architecture = make_architecture(run.config().model, run.config().classes);
  return to_json(StudyCost{.sample_passes = cost.sample_passes,
                           .multiply_adds = training_multiply_adds(*architecture, run.config().transfer,
                                                                   cost.sample_passes, cost.feature_passes),
                           .train_seconds = cost.train_seconds,
                           .eval_seconds = eval_seconds});
}

std::string plan_table(const SisaWork& work) {
  Table table({"shard", "samples left", "starts from", "stages trained", "stages skipped", "sample passes"});
  for (const ShardWork& shard : work.shards) {
    std::string trained, skipped;
    for (const StageWork& stage : shard.stages) {
      std::string& list = stage.skipped ? skipped : trained;
      list += fmt::format("{}{}", list.empty() ? "" : " ", stage.stage);
    }
    table.add({std::to_string(shard.shard), grouped(shard.samples),
               shard.nothing_to_do() ? "nothing to do" : fmt::format("checkpoint {}", shard.first_stage - 1),
               trained.empty() ? "–" : trained, skipped.empty() ? "–" : skipped, grouped(shard.sample_passes())});
  }
  table.add_rule();
  table.add({"in all", "", "", "", "", grouped(work.sample_passes())});
  return table.text();
}

Json plan_json(const SisaWork& work) {
  Json shards = Json::array();
  for (const ShardWork& shard : work.shards) {
    Json stages = Json::array();
    for (const StageWork& stage : shard.stages) {
      stages.push_back({{"stage", stage.stage},
                        {"epochs", stage.epochs},
                        {"samples", stage.samples},
                        {"skipped", stage.skipped},
                        {"sample_passes", stage.sample_passes()}});
    }
    shards.push_back({{"shard", shard.shard},
                      {"samples", shard.samples},
                      {"starts_from", shard.nothing_to_do() ? Json(nullptr) : Json(shard.first_stage - 1)},
                      {"stages", stages},
                      {"sample_passes", shard.sample_passes()}});
  }
  return {{"shards", shards}, {"sample_passes", work.sample_passes()}};
}

std::string accuracy_table(const RunScores& scores, const std::vector<EvaluationSet>& sets) {
  Table table({"", "split", "samples", "top-1", "top-5", "loss"});
  const auto add = [&](const std::string& who, const EvaluationSet& set, const Metrics& metrics) {
    table.add({who, set.name, grouped(metrics.count), percent(metrics.top1), percent(metrics.top5),
               decimals(metrics.loss, 4)});
  };
  for (const EvaluationSet& set : sets) {
    for (std::size_t i = 0; i < scores.shards.size(); ++i) {
      const Predictions& predictions = scores.predictions[i].at(set.name);
      add(fmt::format("shard {}", scores.shards[i]), set, measure(predictions.losses, predictions.ranks));
    }
    const EnsembleScores& ensemble = scores.ensemble.at(set.name);
    add("majority vote", set, measure_ranks(ensemble.majority_vote_ranks));
    add("mean posterior", set, measure(ensemble.losses, ensemble.mean_posterior_ranks));
    if (&set != &sets.back()) table.add_rule();
  }
  return table.text();
}

Json accuracy_json(const RunScores& scores, const std::vector<EvaluationSet>& sets) {
  Json shards = Json::array(), vote = Json::object(), posterior = Json::object();
  for (std::size_t i = 0; i < scores.shards.size(); ++i) {
    Json splits = Json::object();
    for (const EvaluationSet& set : sets) {
      const Predictions& predictions = scores.predictions[i].at(set.name);
      splits[set.name] = to_json(measure(predictions.losses, predictions.ranks));
    }
    shards.push_back({{"shard", scores.shards[i]}, {"splits", splits}});
  }
  for (const EvaluationSet& set : sets) {
    const EnsembleScores& ensemble = scores.ensemble.at(set.name);
    vote[set.name] = to_json(measure_ranks(ensemble.majority_vote_ranks));
    posterior[set.name] = to_json(measure(ensemble.losses, ensemble.mean_posterior_ranks));
  }
  return {{"shards", shards}, {"majority_vote", vote}, {"mean_posterior", posterior}};
}

Json mia_json(const RunMia& mia) {
  const auto put = [](Json& json, const std::string& key, const MiaOutcome& outcome) {
    json[key] = to_json(outcome);
    if (!outcome.mia) json[key + "_reason"] = outcome.reason;
  };
  Json shards = Json::array();
  for (const RunMia::Shard& shard : mia.shards) {
    Json entry{{"shard", shard.shard}};
    put(entry, "mia", shard.whole);
    put(entry, "mia_own", shard.own);
    shards.push_back(entry);
  }
  Json json{{"shards", shards}, {"mean", mia.mean ? Json(*mia.mean) : Json(nullptr)}};
  put(json, "ensemble", mia.ensemble);
  return json;
}

}  // namespace nepenthe
