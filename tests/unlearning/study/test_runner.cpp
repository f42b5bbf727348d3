// A study's runner on a small drawn data set: what is made once, what an interruption keeps, and that rows come again
// to the bit. The lists of experiments, their commands and costs beside it.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "data/synthetic.h"
#include "device.h"
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "unlearning/sisa_plan.h"
#include "unlearning/study/commands.h"
#include "unlearning/study/cost_estimates.h"
#include "unlearning/study/presets.h"
#include "unlearning/study/runner.h"

using namespace nepenthe;
using nepenthe::tests::test_device;
namespace fs = std::filesystem;

namespace {

/// 80 pictures; a run of two shards with two slices each, one network, and what becomes of both.
struct World {
  fs::path folder = fs::temp_directory_path() / fmt::format("nepenthe-study-{}", getpid());
  Dataset dataset;
  std::vector<Experiment> experiments;

  World() {
    fs::remove_all(folder);
    fs::create_directories(folder);
    write_synthetic(folder / "data", 80, 40, 4, 1);
    dataset = read_dataset(folder / "data");
    const Recipe recipe{.epochs = 2, .batch = 16, .optimizer = OptimizerKind::adam, .lr = 0.002, .weight_decay = 0};
    const auto add = [&](const std::string& name, Method method) -> Experiment& {
      Experiment& experiment = experiments.emplace_back();
      experiment.name = name;
      experiment.title = name;
      experiment.method = method;
      experiment.config = {.model = "resnet20", .shards = 2, .epochs = {1, 2}, .recipe = recipe};
      experiment.forget = "range:30-50";
      return experiment;
    };
    add("sisa", Method::sisa).curve = true;
    add("sisa-unlearned", Method::unlearning).from = "sisa";
    add("sisa-retrained", Method::sisa).without_forget = true;
    Experiment& shard = add("shard", Method::training);
    shard.curve = true;
    Experiment& tuned = add("tuned", Method::fine_tuning);
    tuned.config.shards = 1;
    tuned.from = "shard";
  }
  ~World() { fs::remove_all(folder); }

  StudyRunner runner(const std::string& name, Device& device, Observer& observer,
                     std::vector<std::string>* said = nullptr) {
    return {folder / name, experiments, dataset, "data", device, observer, [said](const std::string& line) {
              if (said != nullptr) said->push_back(line);
            }};
  }
  const Experiment& named(const std::string& name) const {
    return *std::ranges::find(experiments, name, &Experiment::name);
  }
};

World& world() {
  static World one;
  return one;
}

/// Asks to stop once, before step `after` counted over all jobs.
struct StopAfter : Observer {
  explicit StopAfter(int after) : left(after) {}
  bool stop_requested() override { return left-- == 0; }
  int left;
};

std::vector<Record> run_all(const std::string& name, const Seeds& seeds, std::vector<std::string>* said = nullptr) {
  Observer observer;
  Device device(test_device());
  StudyRunner runner = world().runner(name, device, observer, said);
  std::vector<Record> records;
  for (const Experiment& experiment : world().experiments)
    records.push_back(runner.run(experiment, seeds, experiment.name));
  return records;
}

bool any_says(const std::vector<std::string>& lines, const std::string& text) {
  return std::ranges::any_of(lines, [&](const std::string& line) { return line.find(text) != std::string::npos; });
}

}  // namespace

TEST_CASE("study: an unlearned run is the retrained one, in files and figures, and what it cost is the plan's") {
  const std::vector<Record> records = run_all("whole", {});
  const Record &before = records[0], &after = records[1], &retrained = records[2];
  CHECK(after.digests.size() == 2 * 3);
  CHECK(after.digests == retrained.digests);
  CHECK(before.digests != after.digests);
  CHECK(after.whole.sets.at("test").top1 == retrained.whole.sets.at("test").top1);
  CHECK(after.forgotten == 20);
  for (const Record& record : records) {
    CHECK(record.whole.sets.at("test").count == 40);
    CHECK(record.whole.sets.at("train").count == 80);
    CHECK(record.whole.sets.at("forget").count == 20);
    CHECK(record.whole.sets.at("retain").count == 60);
    REQUIRE(record.whole.attack.mia);
    CHECK(record.cost.multiply_adds > 0);
    CHECK(record.cost.train_seconds > 0);
    std::int64_t counted = 0;
    for (const std::int64_t count : record.losses.forget) counted += count;
    CHECK(counted == 20);
    CHECK(record.losses.edges.size() == record.losses.forget.size() + 1);
    CHECK(record.losses.fpr.back() == 1);
    CHECK(record.losses.tpr.back() == 1);
    CHECK(std::ranges::is_sorted(record.losses.tpr));
  }
  CHECK(before.cost.sample_passes == 2 * (1 * 20 + 2 * 40));
  // Positions 30 … 49: half of shard 0's slice 2, half of shard 1's slice 1.
  CHECK(after.cost.sample_passes == 2 * 30 + (1 * 10 + 2 * 30));
  REQUIRE(after.map);
  CHECK(after.map->shards[0].forgotten == std::vector{0, 10});
  CHECK(after.map->shards[1].forgotten == std::vector{10, 0});
  CHECK(after.map->shards[0].first_stage == 2);
  CHECK(after.map->shards[1].trained == std::vector{1, 2});
  CHECK(before.curve.size() == 2);
  CHECK(before.curve.back().sample_passes == 1 * 20 + 2 * 40);
  CHECK(before.curve.back().test_top1 == before.shards[0].sets.at("test").top1);
  CHECK(before.slices.size() == 2);
  CHECK(before.slices[0].count == 40);
  CHECK(after.slices[0].count + after.slices[1].count == 60);
  // Shard 0 of 2 as one network, after every epoch.
  CHECK(records[3].cost.sample_passes == 2 * 40);
  CHECK(records[3].curve.size() == 2);
  CHECK(records[3].curve.back().test_top1 == records[3].whole.sets.at("test").top1);
}

TEST_CASE("study: records come back from their JSON") {
  for (const Record& record : run_all("whole", {})) {
    CHECK(differences(record, record_from_json(to_json(record))).empty());
    CHECK(values_compared(record) > 100);
  }
}

TEST_CASE("study: what is there is not made again, and a change makes again what it touches alone") {
  run_all("whole", {});
  std::vector<std::string> said;
  run_all("whole", {}, &said);
  CHECK(said.size() == world().experiments.size());
  for (const std::string& line : said) CHECK(line.ends_with("found before"));
  // Another evaluation: nothing is trained.
  said.clear();
  const auto attacked = run_all("whole", {.evaluation = 2}, &said);
  CHECK(any_says(said, "made before"));
  CHECK_FALSE(any_says(said, ": making"));
  // Another unlearning seed: the fine-tuning alone.
  said.clear();
  const auto tuned = run_all("whole", {.unlearning = 2}, &said);
  CHECK(std::ranges::count_if(said, [](const std::string& line) { return line.ends_with(": making"); }) == 1);
  CHECK(any_says(said, "tuned: making"));
  CHECK(tuned[4].digests != attacked[4].digests);
  CHECK(tuned[3].digests == attacked[3].digests);
}

TEST_CASE("study: a row comes again to the bit in another folder, also where F is given by its ids") {
  const Seeds seeds{.training = 3, .unlearning = 5, .evaluation = 7};
  const std::vector<Record> here = run_all("here", seeds), there = run_all("there", seeds);
  for (std::size_t i = 0; i < here.size(); ++i) CHECK(differences(here[i], there[i]).empty());
  // Another F of the same name has other ids.
  Experiment& tuned = world().experiments.back();
  tuned.forget = "range:0-10";
  const Record other = run_all("here", seeds).back();
  tuned.forget = "range:30-50";
  CHECK(other.forgotten == 10);
  CHECK(other.commands != here.back().commands);
}

TEST_CASE("study: interrupted anywhere and gone on with, it ends with the same records") {
  const std::vector<Record> whole = run_all("whole", {});
  Device device(test_device());
  int interruptions = 0;
  for (const int after : {3, 2, 4, 5, 1, 7, 2, 3}) {
    StopAfter observer(after);
    StudyRunner runner = world().runner("broken", device, observer);
    try {
      for (const Experiment& experiment : world().experiments) runner.run(experiment, {}, experiment.name);
    } catch (const Interrupted&) {
      ++interruptions;
    }
  }
  CHECK(interruptions > 4);
  const std::vector<Record> records = run_all("broken", {});
  for (std::size_t i = 0; i < whole.size(); ++i) CHECK(differences(whole[i], records[i]).empty());
  CHECK_FALSE(records[0].cost.train_seconds);  // not timed as a whole
}

TEST_CASE("study: a difference is named") {
  Record record = run_all("whole", {}).front();
  Record other = record;
  other.shards[1].sets["test"].top1 += 1e-15;
  other.cost.train_seconds = 0;
  const auto lines = differences(record, other);
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].starts_with("/shards/1/splits/test/top1: "));
}

TEST_CASE("study: a damaged record is an error that says how to go on") {
  const Record record = run_all("whole", {}).front();
  const fs::path file = world().folder / "whole/records" / fmt::format("sisa-{}.json", record.key.substr(0, 12));
  REQUIRE(fs::exists(file));
  fs::resize_file(file, 100);
  CHECK_THROWS_WITH_AS(run_all("whole", {}), doctest::Contains("examined again"), Error);
  fs::remove(file);
  CHECK(differences(record, run_all("whole", {}).front()).empty());
}

TEST_CASE("study: every preset names each experiment once, after what it goes on from") {
  Device device(test_device());
  Dataset dataset = world().dataset;
  StudySettings settings;
  for (const Preset& preset : presets()) {
    settings.preset = preset.name;
    std::set<std::string> names;
    for (const Experiment& experiment : study_experiments(settings, dataset, device)) {
      CHECK(names.insert(experiment.name).second);
      CHECK((experiment.from.empty() || names.contains(experiment.from)));
      CHECK_FALSE(experiment.title.empty());
      CHECK(experiment.remark.find("instead of 50 000") != std::string::npos);
      if (experiment.method == Method::fine_tuning) CHECK(experiment.config.shards == 1);
    }
    CHECK(names.size() >= 4);
  }
  settings.preset = "quick";
  const auto some = selected(study_experiments(settings, dataset, device), {"sisa-unlearned", "finetuned"});
  std::vector<std::string> names;
  for (const Experiment& experiment : some) names.push_back(experiment.name);
  CHECK(names == std::vector<std::string>{"sisa", "sisa-unlearned", "baseline", "finetuned"});
  CHECK_THROWS_WITH_AS(selected(some, {"other"}), doctest::Contains("it has sisa, "), UsageError);
}

TEST_CASE("study: options as the programs have them, words as a shell takes them") {
  TrainingConfig config{.model = "resnet32"};
  CHECK(options_of(config, {}).empty());
  config.recipe.nesterov = false;
  CHECK(options_of(config, {.nesterov = false}).empty());
  CHECK(options_of(config, {}) == " --no-nesterov");
  config.recipe = {
      .batch = 32, .optimizer = OptimizerKind::adam, .lr = 1e-4, .fc_lr = 1e-3, .weight_decay = 0, .augment = false};
  config.transfer = {.image_size = 224, .normalization = NormalizationKind::imagenet};
  CHECK(
      options_of(config, {}) ==
      " --batch 32 --optimizer adam --lr 0.0001 --fc-lr 0.001 --no-augment --image-size 224 --normalization imagenet");
  CHECK(shell_word("range:0-10,class:3@0.5") == "range:0-10,class:3@0.5");
  CHECK(shell_word("class:red disc") == "'class:red disc'");
  CHECK(shell_word("it's") == "'it'\\''s'");
  CHECK(shell_word("") == "''");
}

TEST_CASE("study: estimates of costs are the plan's, and near the formulas where those hold") {
  const auto estimates = estimate_costs(4000, 10, 1);
  CHECK(estimates.size() == 5 * 4 * 3);
  for (const CostEstimate& estimate : estimates) {
    if (estimate.slices == 1) {
      CHECK(estimate.epochs == 10);
      CHECK(estimate.training_passes == 40000);
    }
    if (estimate.shards == 1) CHECK(estimate.shards_touched == 1);
    if (estimate.shards == 1 && estimate.slices == 1)
      CHECK(estimate.request_passes == 10.0 * (4000 - estimate.requests));
    CHECK(estimate.shards_touched == doctest::Approx(estimate.formula_shards).epsilon(0.15));
    CHECK(estimate.formula_passes.has_value() == (estimate.requests == 1));
    if (estimate.formula_passes)
      CHECK(estimate.request_passes == doctest::Approx(*estimate.formula_passes).epsilon(0.25));
  }
  CHECK(estimate_costs(10, 10, 1).size() < estimates.size());
}
