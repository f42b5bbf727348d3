#include "unlearning/study/presets.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "unlearning/permutation.h"
#include "unlearning/study/table.h"

namespace nepenthe {
namespace {

namespace fs = std::filesystem;

constexpr std::array all_presets{
    Preset{"quick", "every method once, small: some minutes on two cores"},
    Preset{"figures", "accuracy of one shard of 2, 4 and 10 over training (the report's Figures 2 and 3)"},
    Preset{"sweeps", "forget sets of four shapes; shards and slices against accuracy and cost"},
    Preset{"paper", "the whole study: hours on two cores, made for a GPU"}};

constexpr int full_samples = 50000;  // of CIFAR-100

/// Recipes of the study (STUDY §3).
Recipe from_scratch(int epochs) { return {.epochs = epochs}; }
Recipe fine_tuning(int epochs) { return {.epochs = epochs, .nesterov = false}; }
/// For some thousand pictures: learns them by heart within few epochs, so that forgetting has something to show.
Recipe by_heart(int epochs) {
  return {.epochs = epochs,
          .batch = 32,
          .optimizer = OptimizerKind::adam,
          .lr = 0.002,
          .weight_decay = 0,
          .augment = false};
}

/// Builds a list of experiments on one data set.
class List {
 public:
  List(const StudySettings& settings, const Dataset& dataset, bool on_gpu)
      : settings_(settings), samples_(dataset.train.count()), classes_(dataset.classes), on_gpu_(on_gpu) {
    forget_ =
        settings.forget.empty() ? fmt::format("range:{}-{}", samples_ * 2 / 5, samples_ * 3 / 5) : settings.forget;
  }

  std::vector<Experiment> take() { return std::move(experiments_); }

  void quick() {
    const int epochs = settings_.epochs > 0 ? settings_.epochs : 12;
    TrainingConfig run{.model = "resnet20", .epochs = {3, 3, 4, 6, 12}, .recipe = by_heart(1)};
    const std::string small = "small networks and few epochs, by Adam and without augmentation";
    sisa("sisa", "SISA", run, {}, small, true);
    Recipe tuning = by_heart(std::max(1, epochs * 5 / 12));
    tuning.nesterov = false;  // as unlearn_finetune has it; Adam does not ask
    one_network("resnet20", by_heart(epochs), tuning, small);
    figures("resnet20", by_heart(epochs), small);
    shape("clustered", clustered(), small);
  }

  void only_figures() {
    figures("resnet32", constant(figure_epochs()), fewer_epochs(figure_epochs(), 40));
    Recipe more = from_scratch(scaled(100, figure_epochs(), 40));
    Experiment& experiment = add("shards-4-more", "shard 0 of 4, trained on with a cosine schedule", Method::training);
    experiment.config = {.model = "resnet32", .shards = 4, .recipe = more};
    experiment.from = "shards-4";
    experiment.curve = true;
    experiment.remark = remark(fewer_epochs(more.epochs, 100));
  }

  void sweeps() {
    const std::string small = "a small network and few epochs, by Adam and without augmentation";
    TrainingConfig run{.model = "resnet20", .epochs = {3, 3, 4, 6, 12}, .recipe = by_heart(1)};
    Experiment& sisa = add("sisa", "SISA", Method::sisa);
    sisa.config = run;
    sisa.remark = remark(small);
    shapes(small);
    const int unsliced = settings_.epochs > 0 ? settings_.epochs : 8;
    for (const int shards : {1, 2, 4, 8}) {
      for (const int slices : {1, 2, 5}) {
        const int epochs = std::max(1, static_cast<int>(std::lround(2.0 * unsliced / (slices + 1))));
        const std::string name = fmt::format("sweep-s{}-r{}", shards, slices);
        const std::string title =
            fmt::format("{} shard{}, {} slice{}", shards, shards > 1 ? "s" : "", slices, slices > 1 ? "s" : "");
        Experiment& trained = add(name, title, Method::sisa);
        trained.config = run;
        trained.config.shards = shards;
        trained.config.epochs.assign(static_cast<std::size_t>(slices), epochs);
        trained.forget = few();
        trained.remark = remark(small);
        unlearned(name, fmt::format("{}, unlearned", title), few(), small);
      }
    }
  }

  void paper() {
    for (const int depth : {32, 56}) published(depth);
    const int epochs = on_gpu_ && settings_.epochs == 0 ? 200 : budget();
    one_network("resnet32", from_scratch(epochs), fine_tuning(20), fewer_epochs(epochs, 200));
    Experiment& five = add("finetuned-5", "one network, fine-tuned on R, 5 epochs", Method::fine_tuning);
    five.config = {.model = "resnet32", .shards = 1, .recipe = fine_tuning(5)};
    five.from = "baseline";
    five.ceiling = "golden";
    five.remark = remark(fewer_epochs(epochs, 200));
    sisa("sisa", "SISA", {.model = "resnet32", .recipe = from_scratch(1)}, {}, "", on_gpu_);
    transfer();
    only_figures();
    shapes("");
  }

 private:
  Experiment& add(const std::string& name, const std::string& title, Method method) {
    Experiment& experiment = experiments_.emplace_back();
    experiment.name = name;
    experiment.title = title;
    experiment.method = method;
    experiment.forget = forget_;
    return experiment;
  }

  int budget() const { return settings_.epochs > 0 ? settings_.epochs : 8; }
  int figure_epochs() const { return on_gpu_ && settings_.epochs == 0 ? 40 : budget(); }
  static int scaled(int epochs, int of, int whole) { return std::max(1, epochs * of / whole); }
  static Recipe constant(int epochs) { return {.epochs = epochs, .schedule = Schedule::constant}; }

  static std::string fewer_epochs(int epochs, int whole) {
    return epochs < whole ? fmt::format("{} epochs instead of {}", epochs, whole) : "";
  }
  /// What is smaller than in the report, the data among it.
  std::string remark(const std::string& what) const {
    if (samples_ >= full_samples) return what;
    return fmt::format("{} training pictures instead of {}{}{}", grouped(samples_), grouped(full_samples),
                       what.empty() ? "" : "; ", what);
  }

  /// The first file in the folder of weights whose name begins so; none where there is none.
  fs::path weights(const std::string& beginning) const {
    if (settings_.weights.empty()) return {};
    for (const auto& entry : list_folder(settings_.weights)) {
      if (entry.path().filename().string().starts_with(beginning)) return entry.path();
    }
    return {};
  }

  /// One network: trained on everything, fine-tuned on R, and retrained on R, the golden standard.
  void one_network(const std::string& model, const Recipe& recipe, const Recipe& tuning, const std::string& smaller) {
    Experiment& baseline = add("baseline", "one network", Method::training);
    baseline.config = {.model = model, .shards = 1, .recipe = recipe};
    baseline.ceiling = "golden";
    baseline.remark = remark(smaller);
    Experiment& tuned =
        add("finetuned", fmt::format("one network, fine-tuned on R, {} epochs", tuning.epochs), Method::fine_tuning);
    tuned.config = {.model = model, .shards = 1, .recipe = tuning};
    tuned.from = "baseline";
    tuned.ceiling = "golden";
    tuned.remark = remark(smaller);
    Experiment& golden = add("golden", "one network, retrained on R", Method::training);
    golden.config = {.model = model, .shards = 1, .recipe = recipe};
    golden.without_forget = true;
    golden.remark = remark(smaller);
  }

  /// The study's "pre-trained model", as it is and fine-tuned.
  void published(int depth) {
    const fs::path file = weights(fmt::format("cifar100_resnet{}", depth));
    if (file.empty() || classes_ != 100) return;
    const std::string model = fmt::format("resnet{}", depth);
    const std::string as_it_is = fmt::format("weights-{}", model);
    Experiment& original = add(as_it_is, fmt::format("ResNet{}, published weights", depth), Method::weights);
    original.config = {.model = model, .shards = 1};
    original.weights = file;
    original.ceiling = "golden";
    for (const int epochs : {20, 5}) {
      Experiment& tuned = add(fmt::format("finetuned-{}{}", model, epochs == 20 ? "" : "-5"),
                              fmt::format("ResNet{}, fine-tuned on R, {} epochs", depth, epochs), Method::fine_tuning);
      tuned.config = {.model = model, .shards = 1, .recipe = fine_tuning(epochs)};
      tuned.from = as_it_is;
      tuned.ceiling = "golden";
      tuned.remark = remark("");
    }
  }

  /// A run trained, made to forget F, and, where `retrain`, retrained without F. An unlearned run has the bytes of the
  /// retrained one: where that is not made, the attack on it is the ceiling.
  void sisa(const std::string& name, const std::string& title, const TrainingConfig& run, const fs::path& start,
            const std::string& smaller, bool retrain) {
    const std::string retrained = fmt::format("{}-{}", name, retrain ? "retrained" : "unlearned");
    Experiment& trained = add(name, title, Method::sisa);
    trained.config = run;
    trained.weights = start;
    trained.curve = true;
    trained.ceiling = retrained;
    trained.remark = remark(smaller);
    unlearned(name, fmt::format("{}, F unlearned", title), forget_, smaller).ceiling = retrained;
    if (!retrain) return;
    Experiment& without = add(retrained, fmt::format("{}, retrained on R", title), Method::sisa);
    without.config = run;
    without.weights = start;
    without.without_forget = true;
    without.remark = remark(smaller);
  }

  Experiment& unlearned(const std::string& name, const std::string& title, const std::string& forget,
                        const std::string& smaller) {
    const TrainingConfig run = std::ranges::find(experiments_, name, &Experiment::name)->config;
    Experiment& experiment = add(fmt::format("{}-unlearned", name), title, Method::unlearning);
    experiment.config = run;
    experiment.from = name;
    experiment.forget = forget;
    experiment.remark = remark(smaller);
    return experiment;
  }

  /// From ImageNet's ResNet34 where its weights and a GPU are there, as in the report; else from CIFAR-10's ResNet32.
  void transfer() {
    TrainingConfig run;
    std::string smaller;
    fs::path file = on_gpu_ ? weights("resnet34") : fs::path();
    if (!file.empty()) {
      run = {.model = "resnet34",
             .recipe = {.optimizer = OptimizerKind::adam, .lr = 1e-4, .fc_lr = 1e-3, .weight_decay = 0},
             .transfer = {.image_size = 224, .normalization = NormalizationKind::imagenet}};
    } else if (file = weights("cifar10_resnet32"); !file.empty()) {
      run = {.model = "resnet32",
             .recipe = {.optimizer = OptimizerKind::adam, .lr = 1e-3, .weight_decay = 0},
             .transfer = {.normalization = NormalizationKind::imagenet}};
      smaller = "ResNet32 from CIFAR-10's weights, Adam at 0.001 in all layers, instead of ResNet34 from ImageNet's";
    } else {
      return;
    }
    sisa("transfer", "SISA transfer", run, file, smaller, on_gpu_);
  }

  /// Shard 0 of 2, 4 and 10, as one network (the report's Figures 2 and 3).
  void figures(const std::string& model, const Recipe& recipe, const std::string& smaller) {
    for (const int shards : {2, 4, 10}) {
      Experiment& experiment =
          add(fmt::format("shards-{}", shards), fmt::format("shard 0 of {}", shards), Method::training);
      experiment.config = {.model = model, .shards = shards, .recipe = recipe};
      experiment.curve = true;
      experiment.remark = remark(smaller);
    }
  }

  /// As many samples as one class has, or a slice, from the beginning of slice 3 on, of shard 1 or a part of each
  /// shard.
  int shape_samples() const { return std::clamp(samples_ / classes_, 1, Partition(samples_, 4, 5).slice(1, 3).size()); }
  std::string clustered() const {
    const int first = Partition(samples_, 4, 5).slice(1, 3).begin;
    return fmt::format("range:{}-{}", first, first + shape_samples());
  }
  std::string spread() const {
    std::string parts;
    for (int shard = 0; shard < 4; ++shard) {
      const int first = Partition(samples_, 4, 5).slice(shard, 3).begin;
      parts += fmt::format("{}range:{}-{}", shard > 0 ? "," : "", first, first + std::max(1, shape_samples() / 4));
    }
    return parts;
  }
  std::string few() const { return fmt::format("random:{}", std::max(0.0002, 1.0 / samples_)); }

  void shape(const std::string& kind, const std::string& forget, const std::string& smaller) {
    Experiment& experiment = unlearned("sisa", fmt::format("SISA, {} unlearned", kind), forget, smaller);
    experiment.name = fmt::format("shape-{}", kind);
  }
  void shapes(const std::string& smaller) {
    shape("clustered", clustered(), smaller);
    shape("spread", spread(), smaller);
    shape("class", "class:0", smaller);
    shape("random", fmt::format("random:{}", static_cast<double>(shape_samples()) / samples_), smaller);
  }

  const StudySettings& settings_;
  int samples_, classes_;
  bool on_gpu_;
  std::string forget_;
  std::vector<Experiment> experiments_;
};

}  // namespace

std::vector<Preset> presets() { return {all_presets.begin(), all_presets.end()}; }

std::vector<Experiment> study_experiments(const StudySettings& settings, const Dataset& dataset, const Device& device) {
  List list(settings, dataset, !device.isa());
  if (settings.preset == "quick") {
    list.quick();
  } else if (settings.preset == "figures") {
    list.only_figures();
  } else if (settings.preset == "sweeps") {
    list.sweeps();
  } else if (settings.preset == "paper") {
    list.paper();
  } else {
    throw UsageError(fmt::format("\"{}\" is no preset", settings.preset));
  }
  return list.take();
}

std::vector<Experiment> selected(const std::vector<Experiment>& experiments, const std::vector<std::string>& names) {
  std::set<std::string> wanted;
  for (const std::string& name : names) {
    if (std::ranges::find(experiments, name, &Experiment::name) == experiments.end()) {
      std::string known;
      for (const Experiment& experiment : experiments)
        known += fmt::format("{}{}", known.empty() ? "" : ", ", experiment.name);
      throw UsageError(fmt::format("\"{}\" is no experiment of this preset; it has {}", name, known));
    }
    wanted.insert(name);
  }
  std::vector<Experiment> result;
  for (auto experiment = experiments.rbegin(); experiment != experiments.rend(); ++experiment) {
    if (!wanted.contains(experiment->name)) continue;
    if (!experiment->from.empty()) wanted.insert(experiment->from);
    result.insert(result.begin(), *experiment);
  }
  return result;
}

}  // namespace nepenthe
