// A whole study: every experiment of a preset, made and examined, and the report.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/in_the_making.h"
#include "engine/formats/json_fields.h"
#include "kernels/revision.h"
#include "tools/common/options.h"
#include "tools/common/output.h"
#include "tools/common/program.h"
#include "tools/common/progress.h"
#include "tools/common/sisa.h"
#include "tools/common/version.h"
#include "unlearning/forget_spec.h"
#include "unlearning/permutation.h"
#include "unlearning/study/commands.h"
#include "unlearning/study/cost_estimates.h"
#include "unlearning/study/presets.h"
#include "unlearning/study/report/report.h"
#include "unlearning/study/runner.h"
#include "unlearning/study/training_rate.h"

using namespace nepenthe;

namespace {

constexpr std::array<std::string_view, 7> study_file_names{"made",     "records", "forget",          "study.json",
                                                           "report.*", "*.csv",   "replay.partial-#"};

/// Epochs over everything that the table of costs is for: what the study's 800 000 sample passes are.
constexpr int planned_epochs = 16;

struct Options {
  StudySettings settings;
  std::filesystem::path data, out;
  std::vector<std::string> only;
  std::string training_seeds, unlearning_seeds, evaluation_seeds, replay;
  int parallel_shards = 1;
  bool resume = false;
};

std::vector<std::uint64_t> seeds_of(const std::string& option, const std::string& text, std::uint64_t seed) {
  if (text.empty()) return {seed};
  std::vector<std::uint64_t> seeds;
  for (const std::string& part : parts_of_list(option, text)) {
    seeds.push_back(whole_number<std::uint64_t>(option, part, 0));
    if (std::ranges::count(seeds, seeds.back()) > 1) refuse_value(option, text, "each seed once");
  }
  return seeds;
}

/// Every training seed with every unlearning and evaluation seed.
std::vector<Seeds> all_seeds(const Options& options, std::uint64_t seed) {
  std::vector<Seeds> all;
  for (const auto training : seeds_of("--training-seeds", options.training_seeds, seed)) {
    for (const auto unlearning : seeds_of("--unlearning-seeds", options.unlearning_seeds, seed)) {
      for (const auto evaluation : seeds_of("--evaluation-seeds", options.evaluation_seeds, seed)) {
        all.push_back({.training = training, .unlearning = unlearning, .evaluation = evaluation});
      }
    }
  }
  return all;
}

/// What makes this study again.
std::string command_of(const Options& options, std::uint64_t seed) {
  const StudySettings& settings = options.settings;
  std::string text = fmt::format("run_study --preset {} --data {}", settings.preset, shell_word(options.data.string()));
  const auto add = [&](const std::string& option, const std::string& value) {
    if (!value.empty()) text += fmt::format(" {} {}", option, shell_word(value));
  };
  add("--weights", settings.weights.string());
  add("--forget", settings.forget);
  add("--epochs", settings.epochs > 0 ? std::to_string(settings.epochs) : "");
  add("--only", fmt::format("{}", fmt::join(options.only, ",")));
  add("--training-seeds", options.training_seeds);
  add("--unlearning-seeds", options.unlearning_seeds);
  add("--evaluation-seeds", options.evaluation_seeds);
  add("--seed", seed == 1 ? "" : std::to_string(seed));
  add("--out", options.out.string());
  return text;
}

StudyRecord read_study(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "study.json";
  try {
    return study_from_json(parse_object(as_text(read_file(file))));
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}; --replay needs a study that run_study made", file.string(), error.what()));
  }
}

/// Makes a row anew, from nothing, and compares.
void replay(const Options& options, const std::vector<Experiment>& experiments, const std::vector<Seeds>& seeds,
            const Dataset& dataset, Program& program, Observer& observer) {
  const StudyRecord study = read_study(options.out);
  const auto before = std::ranges::find(study.records, options.replay, &Record::row);
  if (before == study.records.end()) {
    std::string rows;
    for (const Record& record : study.records) rows += fmt::format("{}{}", rows.empty() ? "" : ", ", record.row);
    throw UsageError(fmt::format("--replay {}: the study has the rows {}", options.replay, rows));
  }
  for (const Experiment& experiment : experiments) {
    for (const Seeds& triple : seeds) {
      if (row_name(experiment, triple, seeds.size() > 1) != options.replay) continue;
      constexpr std::array<std::string_view, 1> anything{"*"};
      remove_abandoned_folders(options.out / "replay", anything);
      const FolderInTheMaking folder(options.out / "replay");
      StudyRunner runner(
          folder.path(), experiments, dataset, options.data.string(), program.device(), observer,
          [&](const std::string& line) { program.say(line); }, options.parallel_shards);
      const Record after = runner.run(experiment, triple, options.replay);
      const std::vector<std::string> different = differences(*before, after);
      const std::int64_t values = values_compared(*before);
      program.result()["replay"] = {{"row", options.replay}, {"compared", values}, {"different", different}};
      if (!different.empty()) {
        throw Error(fmt::format("{}: {} of {} values differ: {}", options.replay, different.size(), values,
                                fmt::join(different, "; ")));
      }
      print("{}: made anew, all {} values the same to the bit, digests of {} files among them\n", options.replay,
            values, before->digests.size());
      return;
    }
  }
  throw UsageError(fmt::format("--replay {}: these options do not make that row; the study was made by {}",
                               options.replay, study.command));
}

void write_study(const std::filesystem::path& out, const StudyRecord& study) {
  for (const ReportFile& file : study_report(study)) {
    make_folder((out / file.name).parent_path());
    write_file_atomically(out / file.name, file.content);
  }
  write_file_atomically(out / "study.json", fmt::format("{}\n", to_json(study).dump(2)));
}

/// The study without records: what it is about and how it is asked for.
StudyRecord empty_study(const Options& options, const Dataset& dataset, Program& program) {
  Device& device = program.device();
  return {.preset = options.settings.preset,
          .version = NEPENTHE_VERSION,
          .command = command_of(options, program.seed()),
          .data_name = dataset.name,
          .train_digest = dataset.train.digest,
          .test_digest = dataset.test.digest,
          .samples = dataset.train.count(),
          .test_samples = dataset.test.count(),
          .classes = dataset.classes,
          .device = device.description(),
          .precision = program.result().at("precision").get<std::string>(),
          .libraries = device.isa() ? kernels::cpu_revision : "",
          .costs = estimate_costs(dataset.train.count(), planned_epochs, program.seed())};
}

/// Fills the study's records; of hours of work there is a report all along.
void make_all(StudyRecord& study, const Options& options, const std::vector<Experiment>& experiments,
              const std::vector<Seeds>& seeds, const Dataset& dataset, Program& program, Observer& observer) {
  const std::size_t rows = experiments.size() * seeds.size();
  const auto say = [&](const std::string& line) {
    program.say(fmt::format("{} of {}: {}", study.records.size() + 1, rows, line));
  };
  StudyRunner runner(options.out, experiments, dataset, options.data.string(), program.device(), observer, say,
                     options.parallel_shards);
  try {
    for (const Experiment& experiment : experiments) {
      for (const Seeds& triple : seeds) {
        study.records.push_back(runner.run(experiment, triple, row_name(experiment, triple, seeds.size() > 1)));
        write_study(options.out, study);
      }
    }
  } catch (const Interrupted& interrupted) {
    throw Interrupted(fmt::format("{}; the same command with --resume continues", interrupted.what()));
  }
}

/// How fast this machine trains a run's networks: of a run that was made here and timed as a whole, else measured now.
void tell_rate(StudyRecord& study, const Dataset& dataset, Device& device, Observer& observer) {
  const auto run =
      std::ranges::find(study.records, Method::sisa, [](const Record& record) { return record.experiment.method; });
  if (run == study.records.end()) return;
  study.rate_model = run->experiment.config.model;
  study.samples_per_second =
      run->cost.train_seconds
          ? static_cast<double>(run->cost.sample_passes) / *run->cost.train_seconds
          : measure_training_rate(run->experiment.config, dataset, device, observer).samples_per_second;
}

}  // namespace

int main(int argc, char** argv) {
  Program program("run_study", "Makes and examines every experiment of a study, and writes the report");
  Options options;
  StudySettings& settings = options.settings;
  std::vector<std::string> names;
  std::string description;
  for (const Preset& preset : presets()) {
    names.emplace_back(preset.name);
    description += fmt::format("{}{}: {}", description.empty() ? "" : "; ", preset.name, preset.description);
  }
  CLI::App& app = program.app();
  app.add_option("--preset", settings.preset, description)->check(one_of(names));
  app.add_option("--data", options.data, "Folder of CIFAR-100 or CIFAR-10 binary files")->type_name("DIR")->required();
  app.add_option("--weights", settings.weights,
                 "Folder of published weights: what needs one that is not there is left out")
      ->type_name("DIR");
  app.add_option("--out", options.out, "Folder for all that is made, and the report")->type_name("DIR")->required();
  app.add_flag("--resume", options.resume, "Go on in a folder that is there; what is made already is not made again");
  app.add_option("--replay", options.replay,
                 "Make a row of the study in --out anew, from nothing, and compare to the bit")
      ->type_name("ROW");
  add_names(app, "--only", options.only, "These experiments, and what they go on from, by commas");
  app.add_option("--forget", settings.forget, "F; by default the study's: positions 40 % to 60 %")->type_name("SPEC");
  add_whole_number(app, "--epochs", settings.epochs, 0,
                   "Of the baseline, the golden standard and Figures 2 and 3; 0: the study's 200 and 40 on a GPU, 8 on "
                   "a CPU, quick has its own");
  app.add_option("--training-seeds", options.training_seeds, "Of what is trained; by default --seed")
      ->type_name("N,N,...");
  app.add_option("--unlearning-seeds", options.unlearning_seeds, "Of fine-tuning; by default --seed")
      ->type_name("N,N,...");
  app.add_option("--evaluation-seeds", options.evaluation_seeds, "Of the attack; by default --seed")
      ->type_name("N,N,...");
  add_parallel_shards(app, options.parallel_shards);

  return program.run(argc, argv, [&] {
    program.places().reads_folder(options.data, "--data", dataset_file_names);
    program.places().reads_specification(settings.forget, "--forget");
    program.places().writes_folder(options.out, "--out", study_file_names);
    if (!options.resume && options.replay.empty()) refuse_existing(options.out, "--out");
    if (!settings.weights.empty() && !std::filesystem::is_directory(settings.weights)) {
      throw UsageError(fmt::format("--weights {}: a folder of weights would be right", settings.weights.string()));
    }
    const std::vector<Seeds> seeds = all_seeds(options, program.seed());
    const Dataset dataset = read_dataset(options.data);
    Device& device = program.device();
    std::vector<Experiment> experiments = study_experiments(settings, dataset, device);
    if (!options.only.empty()) experiments = selected(experiments, options.only);
    const std::vector<std::int32_t> permutation = make_permutation(dataset.train.count(), seeds.front().training);
    for (const Experiment& experiment : experiments) {  // what cannot be forgotten is told before hours of work
      require_something_retained(
          dataset.train.count(),
          resolve_forget_spec(experiment.forget, forget_context(dataset, permutation, seeds.front().training)));
    }
    ProgressBar bar(program.quiet());
    if (!options.replay.empty()) return replay(options, experiments, seeds, dataset, program, bar);

    StudyRecord study = empty_study(options, dataset, program);
    make_all(study, options, experiments, seeds, dataset, program, bar);
    tell_rate(study, dataset, device, bar);
    write_study(options.out, study);
    print("{}\n", study_summary(study));
    print("the report: {}\n", (options.out / "report.html").string());
    program.result()["study"] = to_json(study);
  });
}
