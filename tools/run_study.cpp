// The main job in one go: train a SISA run, unlearn, retrain without the forget set, and lay the three side by side.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string_view>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/in_the_making.h"
#include "models/registry.h"
#include "tools/common/options.h"
#include "tools/common/output.h"
#include "tools/common/program.h"
#include "tools/common/progress.h"
#include "tools/common/sisa.h"
#include "tools/common/transfer.h"
#include "unlearning/forget_spec.h"
#include "unlearning/study/record.h"
#include "unlearning/study/table.h"

using namespace nepenthe;

namespace {

constexpr auto study_file_names = [] {
  std::array<std::string_view, SisaRun::file_names.size() + 6> names{
      "sisa", "retrained", "sisa.partial-#", "retrained.partial-#", "report.txt", "study.json"};
  std::ranges::copy(SisaRun::file_names, names.begin() + 6);
  return names;
}();

/// A state of the run, examined.
struct Row {
  std::string name;
  SisaRun::Cost cost;
  RunScores scores;
  RunMia mia;
};

struct Study {
  Program& program;
  const Dataset& dataset;
  const Evaluator& evaluator;
  std::vector<EvaluationSet> sets;  // test, forget, retain

  Row examine(std::string row_name, const SisaRun& run, const SisaRun::Cost& cost) const {
    ProgressBar bar(program.quiet());
    Row row{.name = std::move(row_name), .cost = cost, .scores = score_run(run, evaluator, sets, bar)};
    row.mia = attack_run(run, row.scores, sets[1], {.seed = program.seed()});
    return row;
  }
};

Metrics ensemble_metrics(const Row& row, const std::string& set) {
  const EnsembleScores& scores = row.scores.ensemble.at(set);
  return measure(scores.losses, scores.mean_posterior_ranks);
}

std::optional<double> mean_of(const MiaOutcome& outcome) {
  return outcome.mia ? std::optional(outcome.mia->mean) : std::nullopt;
}

/// Fits the study's own table: accuracy of the ensemble, the attack per shard on the whole forget set, and the cost.
std::string study_table(const std::vector<Row>& rows, int shards) {
  std::vector<std::string> header{"", "top-1", "top-5"};
  for (int shard = 0; shard < shards; ++shard) header.push_back(fmt::format("MIA {}", shard));
  header.insert(header.end(), {"mean", "ensemble", "sample passes", "time"});
  Table table(header);
  for (const Row& row : rows) {
    const Metrics test = ensemble_metrics(row, "test");
    std::vector<std::string> cells{row.name, percent(test.top1), percent(test.top5)};
    for (int shard = 0; shard < shards; ++shard) {
      const auto found = std::ranges::find(row.mia.shards, shard, &RunMia::Shard::shard);
      cells.push_back(found == row.mia.shards.end() ? "–" : decimals(mean_of(found->whole), 3));
    }
    cells.insert(cells.end(), {decimals(row.mia.mean, 3), decimals(mean_of(row.mia.ensemble), 3),
                               grouped(row.cost.sample_passes), duration(row.cost.train_seconds)});
    table.add(cells);
  }
  return table.text();
}

/// How well a shard's own forgotten samples are recognised, and how well the ensemble still classifies them.
std::string forget_table(const std::vector<Row>& rows) {
  std::vector<int> affected;
  for (const RunMia::Shard& shard : rows.front().mia.shards) {
    if (shard.own.mia) affected.push_back(shard.shard);
  }
  std::vector<std::string> header{""};
  for (const int shard : affected) header.push_back(fmt::format("MIA on F in shard {}", shard));
  header.insert(header.end(), {"top-1 on F", "top-1 on the rest"});
  Table table(header);
  for (const Row& row : rows) {
    std::vector<std::string> cells{row.name};
    for (const int shard : affected) {
      const auto found = std::ranges::find(row.mia.shards, shard, &RunMia::Shard::shard);
      cells.push_back(found == row.mia.shards.end() || !found->own.mia
                          ? "–"
                          : fmt::format("{:.3f} ± {:.3f}", found->own.mia->mean, found->own.mia->standard_error));
    }
    cells.insert(cells.end(),
                 {percent(ensemble_metrics(row, "forget").top1), percent(ensemble_metrics(row, "retain").top1)});
    table.add(cells);
  }
  return table.text();
}

nlohmann::ordered_json row_json(const Row& row, const std::vector<EvaluationSet>& sets, const SisaRun& run) {
  nlohmann::ordered_json json{{"name", row.name}};
  json["cost"] = run_cost_json(run, row.cost, row.scores.seconds);
  json.update(accuracy_json(row.scores, sets));
  json["mia"] = mia_json(row.mia);
  return json;
}

/// Files of two runs' checkpoints: how many there are and how many have the same bytes.
std::pair<int, int> compare_checkpoints(const SisaRun& a, const SisaRun& b) {
  int files = 0, same = 0;
  for (int shard = 0; shard < a.config().shards; ++shard) {
    for (int stage = 0; stage <= static_cast<int>(a.config().epochs.size()); ++stage) {
      ++files;
      same += sha256_file(a.checkpoint(shard, stage)) == sha256_file(b.checkpoint(shard, stage));
    }
  }
  return {same, files};
}

}  // namespace

int main(int argc, char** argv) {
  Program program("run_study", "Trains with SISA, unlearns, retrains without the forget set, and compares the three");
  std::string preset = "quick", forget;
  std::filesystem::path data, out;
  // The quick preset: some minutes on two cores. Adam without augmentation learns a few hundred pictures by heart
  // within few epochs, most of them in the last stage, so that forgetting has something to show.
  TrainingConfig config{.model = "resnet20", .epochs = {3, 3, 4, 6, 12}};
  config.recipe = {.batch = 32, .optimizer = OptimizerKind::adam, .lr = 0.002, .weight_decay = 0, .augment = false};
  CLI::App& app = program.app();
  app.add_option("--preset", preset, "quick: one SISA run, its unlearning and its retraining")
      ->check(one_of({"quick"}));
  app.add_option("--data", data, "Folder of CIFAR-100 or CIFAR-10 binary files")->type_name("DIR")->required();
  app.add_option("--out", out, "Folder for the runs and the report")->type_name("DIR")->required();
  add_model(app, config.model);
  add_whole_number(app, "--shards", config.shards, 1, "Networks, each on its own part of the data");
  add_whole_numbers(app, "--epochs", config.epochs, "Epochs of each stage, one number a slice");
  app.add_option("--forget", forget, "The forget set; by default the study's: positions 40 % to 60 %")
      ->type_name("SPEC");
  add_recipe_options(app, config.recipe);

  return program.run(argc, argv, [&] {
    program.places().reads_folder(data, "--data", dataset_file_names);
    program.places().reads_specification(forget, "--forget");
    program.places().writes_folder(out, "--out", study_file_names);
    refuse_existing(out, "--out");
    config.seed = program.seed();
    Device& device = program.device();
    make_architecture(config.model, 10);  // an unknown name is told before the data is read
    const Dataset dataset = read_dataset(data);
    const int samples = dataset.train.count();
    if (forget.empty()) forget = fmt::format("range:{}-{}", samples * 2 / 5, samples * 3 / 5);
    const std::vector<std::int32_t> permutation = make_permutation(samples, config.seed);
    const std::vector<std::int32_t> forgotten =
        resolve_forget_spec(forget, forget_context(dataset, permutation, config.seed));
    require_something_retained(samples, forgotten);

    config.transfer = transfer_settings({}, nullptr, *make_architecture(config.model, dataset.classes));
    const Evaluator evaluator(device, dataset, preprocessing(config.transfer, dataset));
    const Study study{program, dataset, evaluator, evaluation_sets({"test", "forget", "retain"}, dataset, forgotten)};
    ProgressBar bar(program.quiet());
    std::vector<Row> rows;
    program.say(fmt::format("{} ({} training samples, {} classes): {}, {} shards, {} slices; F = {} ({} samples)",
                            dataset.name, grouped(samples), dataset.classes, config.model, config.shards,
                            config.epochs.size(), forget, grouped(static_cast<std::int64_t>(forgotten.size()))));
    FolderInTheMaking making(out);
    const auto make = [&] {
      program.say("1 of 3: training on everything");
      SisaRun run = SisaRun::create(making.path() / "sisa", config, dataset, {}, {}, device);
      const SisaRun::Cost training = run.complete(dataset, device, bar);
      rows.push_back(study.examine("trained on everything", run, training));
      program.say("2 of 3: unlearning F");
      run.forget(forgotten, {{"forget", forget}});
      const SisaRun::Cost unlearning = run.complete(dataset, device, bar);
      rows.push_back(study.examine("F unlearned", run, unlearning));
      program.say("3 of 3: retraining from scratch without F");
      SisaRun retrained = SisaRun::create(making.path() / "retrained", config, dataset, forgotten, {}, device);
      const SisaRun::Cost retraining = retrained.complete(dataset, device, bar);
      rows.push_back(study.examine("retrained without F", retrained, retraining));

      const auto [same, files] = compare_checkpoints(run, retrained);
      const std::string report = fmt::format(
          "The ensemble (mean posterior) on the test set, and the membership inference attack on F, shard by shard\n"
          "(0.5: F cannot be told from pictures never seen)\n\n{}\n"
          "The attack on each shard's own part of F, and how many of F are still classified right\n\n{}\n"
          "checkpoints: {} of {} files of the unlearned run have the very bytes of the run retrained without F\n",
          study_table(rows, config.shards), forget_table(rows), same, files);
      print("\n{}", report);
      write_file_atomically(making.path() / "report.txt", report);

      auto& json = program.result();
      json["run"] = run_json(run);
      json["run"]["folder"] = (out / "sisa").string();
      json["forget"] = {{"spec", forget}, {"samples", forgotten.size()}};
      for (const Row& row : rows) json["rows"].push_back(row_json(row, study.sets, run));
      json["identical_checkpoints"] = {{"same", same}, {"files", files}};
      write_file_atomically(making.path() / "study.json", json.dump(2) + "\n");
    };
    try {
      make();
    } catch (const Interrupted& interrupted) {  // hours of work may be in it
      making.keep();
      throw Interrupted(fmt::format("{}; what is made so far stays in {}", interrupted.what(), out.string()));
    }
    making.keep();
  });
}
