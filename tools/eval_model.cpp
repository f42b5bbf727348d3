// Top-1, top-5 and loss of a network or of a SISA run.
#include <fmt/format.h>

#include <array>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/in_the_making.h"
#include "engine/formats/npy.h"
#include "tools/common/options.h"
#include "tools/common/output.h"
#include "tools/common/progress.h"
#include "tools/common/sisa.h"
#include "tools/common/subject.h"
#include "unlearning/study/record.h"
#include "unlearning/study/table.h"

using namespace nepenthe;

namespace {

constexpr std::array<std::string_view, 3> sample_file_names{"shard-#", "mean_posterior", "*.npy"};

/// Per-sample values into DIR/<split>.npy, for a run DIR/shard-K/<split>.npy and DIR/mean_posterior/<split>.npy: all of
/// them or none.
class SampleFiles {
 public:
  /// Folders; empty: none.
  SampleFiles(const std::filesystem::path& losses, const std::filesystem::path& logits) {
    if (!losses.empty()) losses_.emplace(losses);
    if (!logits.empty()) logits_.emplace(logits);
  }

  void write(const std::filesystem::path& subfolder, const std::string& split, std::span<const float> sample_losses,
             std::span<const float> sample_logits) const {
    const auto samples = static_cast<std::int64_t>(sample_losses.size());
    const auto write_one = [&](const std::optional<FolderInTheMaking>& folder, std::span<const float> values,
                               const std::vector<std::int64_t>& shape) {
      if (!folder) return;
      make_folder(folder->path() / subfolder);
      write_npy(folder->path() / subfolder / (split + ".npy"), values, shape);
    };
    write_one(losses_, sample_losses, {samples});
    write_one(logits_, sample_logits,
              {samples, samples > 0 ? static_cast<std::int64_t>(sample_logits.size()) / samples : 0});
  }
  void keep() {
    for (auto* folder : {&losses_, &logits_}) {
      if (*folder) (*folder)->keep();
    }
  }

 private:
  std::optional<FolderInTheMaking> losses_, logits_;
};

void evaluate_run(Program& program, const Subject& subject, const std::vector<EvaluationSet>& sets,
                  SampleFiles& files) {
  ProgressBar bar(program.quiet());
  const Evaluator evaluator(program.device(), subject.dataset, subject.preprocessing);
  const RunScores scores = score_run(*subject.run, evaluator, sets, bar);
  for (const EvaluationSet& set : sets) {
    for (std::size_t i = 0; i < scores.shards.size(); ++i) {
      const Predictions& predictions = scores.predictions[i].at(set.name);
      files.write(fmt::format("shard-{}", scores.shards[i]), set.name, predictions.losses, predictions.logits);
    }
    const EnsembleScores& ensemble = scores.ensemble.at(set.name);
    const std::vector<float> losses(ensemble.losses.begin(), ensemble.losses.end());
    files.write("mean_posterior", set.name, losses, ensemble.log_posterior);
  }
  files.keep();
  print("{}\nevaluated in {}\n", accuracy_table(scores, sets), duration(scores.seconds));
  auto& json = program.result();
  json["run"] = run_json(*subject.run);
  json.update(accuracy_json(scores, sets));
  json["eval_seconds"] = scores.seconds;
}

void evaluate_network(Program& program, const Subject& subject, const std::vector<EvaluationSet>& sets,
                      SampleFiles& files) {
  ProgressBar bar(program.quiet());
  const Evaluator evaluator(program.device(), subject.dataset, subject.preprocessing);
  const auto began = std::chrono::steady_clock::now();
  const auto predictions = evaluator.predict(*subject.model, sets, subject.model->architecture().name(), bar);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  Table table({"split", "samples", "top-1", "top-5", "loss"});
  auto& splits = program.result()["splits"];
  for (const EvaluationSet& set : sets) {
    const Predictions& of_set = predictions.at(set.name);
    const Metrics metrics = measure(of_set.losses, of_set.ranks);
    table.add(
        {set.name, grouped(metrics.count), percent(metrics.top1), percent(metrics.top5), decimals(metrics.loss, 4)});
    splits[set.name] = to_json(metrics);
    files.write({}, set.name, of_set.losses, of_set.logits);
  }
  files.keep();
  print("{}\nevaluated in {}\n", table.text(), duration(seconds));
  program.result()["eval_seconds"] = seconds;
}

}  // namespace

int main(int argc, char** argv) {
  Program program("eval_model", "Top-1, top-5 and loss of a network or of a SISA run");
  SubjectOptions options;
  add_subject_options(program, options);
  std::vector<std::string> splits{"test"};
  std::filesystem::path losses, logits;
  CLI::App& app = program.app();
  add_names(app, "--split", splits, "test, train, forget, retain: one or more, by commas");
  app.add_option("--losses", losses, "Write each sample's loss here (.npy)")->type_name("DIR");
  app.add_option("--logits", logits, "Write each sample's logits here (.npy)")->type_name("DIR");

  return program.run(argc, argv, [&] {
    program.places().writes_folder(losses, "--losses", sample_file_names);
    program.places().writes_folder(logits, "--logits", sample_file_names);
    const Subject subject = open_subject(program, options);
    if (subject.forget.empty() && (std::ranges::count(splits, "forget") + std::ranges::count(splits, "retain") > 0)) {
      throw UsageError("--split: nothing is forgotten; --forget says what forget and retain mean");
    }
    const std::vector<EvaluationSet> sets = evaluation_sets(splits, subject.dataset, subject.forget);
    program.result()["data"] = {{"name", subject.dataset.name},
                                {"train_digest", subject.dataset.train.digest},
                                {"test_digest", subject.dataset.test.digest},
                                {"forget", subject.forget.size()}};
    SampleFiles files(losses, logits);
    if (subject.run) {
      evaluate_run(program, subject, sets, files);
    } else {
      evaluate_network(program, subject, sets, files);
    }
  });
}
