// Trains all shards of a SISA run, with a checkpoint after every slice.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "models/registry.h"
#include "tools/common/options.h"
#include "tools/common/output.h"
#include "tools/common/program.h"
#include "tools/common/progress.h"
#include "tools/common/sisa.h"
#include "tools/common/start_weights.h"
#include "tools/common/transfer.h"
#include "unlearning/forget_spec.h"
#include "unlearning/provenance/origin.h"
#include "unlearning/study/record.h"
#include "unlearning/study/table.h"

using namespace nepenthe;

namespace {

struct Options {
  std::filesystem::path data, out, weights;
  TrainingConfig config{.model = "resnet32"};
  TransferOptions transfer;
  int slices = 5, parallel_shards = 1;
  std::string exclude;
  bool resume = false;
};

SisaRun create_run(Program& program, Options& options) {
  program.places().reads_folder(options.data, "--data", dataset_file_names);
  program.places().reads(options.weights, "--weights");
  program.places().reads_specification(options.exclude, "--exclude");
  program.places().writes_folder(options.out, "--out", SisaRun::file_names);
  if (options.data.empty()) throw UsageError("--data is required; it names the folder of CIFAR binary files");
  if (static_cast<int>(options.config.epochs.size()) != options.slices) {
    throw UsageError(fmt::format("--epochs has {} numbers for {} slices; one number a slice would be right",
                                 options.config.epochs.size(), options.slices));
  }
  refuse_existing(options.out, "--out");
  make_architecture(options.config.model, 10);  // an unknown name is told before the data is read
  const Dataset dataset = read_dataset(options.data);
  const std::vector<std::int32_t> permutation = make_permutation(dataset.train.count(), options.config.seed);
  std::vector<std::int32_t> excluded;
  if (!options.exclude.empty()) {
    excluded = resolve_forget_spec(options.exclude, forget_context(dataset, permutation, options.config.seed));
    require_something_retained(dataset.train.count(), excluded);
  }
  const auto architecture = make_architecture(options.config.model, dataset.classes);
  tell_of_new_head(program, options.weights, *architecture);
  nlohmann::ordered_json weights;
  if (!options.weights.empty()) {
    weights = describe_weights(options.weights);
    use_transfer_rates(program.app(), options.config.recipe);
  }
  options.config.transfer = transfer_settings(options.transfer, weights, *architecture);
  return SisaRun::create(options.out, options.config, dataset, excluded, options.weights, program.device());
}

/// With --resume the run's own configuration counts; an option that says otherwise is a mistake.
SisaRun resume_run(Program& program, const Options& options) {
  const CLI::App& app = program.app();
  program.places().reads_folder(options.data, "--data", dataset_file_names);
  program.places().writes_folder(options.out, "--out", SisaRun::file_names);
  if (!options.exclude.empty() || !options.weights.empty()) {
    throw UsageError("--resume: leave out --exclude and --weights; unlearn_sisa makes a run forget more");
  }
  SisaRun run = open_run(options.out);
  const auto require = [&](const std::string& option, bool same) {
    if (app.count(option) > 0 && !same) {
      throw UsageError(
          fmt::format("--resume: {} differs from the run's; leave it out (unlearn_sisa --run {} --resume "
                      "gives stages that are still to be made another recipe)",
                      option, options.out.string()));
    }
  };
  require("--model", options.config.model == run.config().model);
  require("--shards", options.config.shards == run.config().shards);
  require("--slices", options.slices == static_cast<int>(run.config().epochs.size()));
  require("--epochs", options.config.epochs == run.config().epochs);
  require("--seed", options.config.seed == run.config().seed);
  const auto own = to_json(options.config.recipe), its = to_json(run.config().recipe);
  for (const auto& [key, value] : own.items()) {
    if (key == "epochs") continue;
    require(option_of(key), value == its.at(key));
  }
  const TransferSettings& transfer = run.config().transfer;
  require("--freeze", transfer.freeze_backbone);
  require("--image-size", options.transfer.image_size == transfer.image_size);
  require("--normalization", options.transfer.normalization == transfer.normalization);
  return run;
}

}  // namespace

int main(int argc, char** argv) {
  Program program("train_sisa", "Trains all shards of a SISA run, with a checkpoint after every slice");
  Options options;
  CLI::App& app = program.app();
  app.add_option("--data", options.data, "Folder of CIFAR-100 or CIFAR-10 binary files")->type_name("DIR");
  add_model(app, options.config.model);
  app.add_option("--out", options.out, "The run's folder")->type_name("RUN")->required();
  add_whole_number(app, "--shards", options.config.shards, 1, "Networks, each on its own part of the data");
  add_whole_number(app, "--slices", options.slices, 1, "Slices of a shard: checkpoints on the way");
  add_whole_numbers(app, "--epochs", options.config.epochs, "Epochs of each stage, one number a slice");
  add_training_options(app, options.transfer, options.config.recipe);
  app.add_option("--weights", options.weights, "Start every shard from these weights")
      ->check(existing_file())
      ->type_name("FILE");
  app.add_option("--exclude", options.exclude, "Leave these samples out")->type_name("SPEC");
  add_parallel_shards(app, options.parallel_shards);
  app.add_flag("--resume", options.resume, "Continue an interrupted run");

  return program.run(argc, argv, [&] {
    options.config.seed = program.seed();
    SisaRun run = options.resume ? resume_run(program, options) : create_run(program, options);
    const Dataset dataset = read_run_data(program, run, options.data);
    Device& device = open_device(program, run);
    run.lock();
    tell_of_leftovers(program, run);
    const SisaWork work = run.work({}, options.resume ? tell_of_damage(program, run) : std::vector<SisaRun::Damage>{});
    program.say(fmt::format("{}: {} shards, {} slices, {}; {} sample passes to make", dataset.name, run.config().shards,
                            run.config().epochs.size(), run.config().model, grouped(work.sample_passes())));
    ProgressBar bar(program.quiet());
    const SisaRun::Cost cost = carry_out(run, work, dataset, device, bar, options.parallel_shards, !options.resume);

    const Evaluator evaluator(device, dataset, preprocessing(run.config().transfer, dataset));
    const auto sets = evaluation_sets({"test"}, dataset, {});
    const RunScores scores = score_run(run, evaluator, sets, bar);
    print("{}\n{} sample passes in {}\n", accuracy_table(scores, sets), grouped(cost.sample_passes),
          duration(cost.train_seconds));
    auto& json = program.result();
    json["run"] = run_json(run);
    json.update(accuracy_json(scores, sets));
    json["cost"] = run_cost_json(run, cost, scores.seconds);
  });
}
