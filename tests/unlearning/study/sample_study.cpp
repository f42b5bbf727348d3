#include "sample_study.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace nepenthe::test {
namespace {

constexpr int samples = 50000, test_samples = 10000, classes = 100;

/// What a method is like: all else is drawn around it.
struct Outcome {
  double test = 0.5, train = 0.7, forget = 0.7, top5 = 0.8;
  double forget_loss = 1.5, test_loss = 2;  // medians
  std::int64_t passes = 0;
  double macs_per_sample = 69.1e6;
  int shards = 1;
};

class Maker {
 public:
  explicit Maker(StudyRecord& study) : study_(&study) {}

  Record& add(const std::string& name, const std::string& title, Method method, const Outcome& outcome,
              const Seeds& seeds, bool several) {
    Record record;
    record.row = several ? fmt::format("{}@{}.{}.{}", name, seeds.training, seeds.unlearning, seeds.evaluation) : name;
    record.experiment.name = name;
    record.experiment.title = title;
    record.experiment.method = method;
    TrainingConfig& config = record.experiment.config;
    config.model = "resnet32";
    config.classes = classes;
    config.samples = samples;
    config.shards = outcome.shards;
    config.epochs = outcome.shards > 1 ? std::vector<int>{8, 7, 6, 5, 4} : std::vector<int>{200};
    config.data_digest = hex(64);
    record.experiment.forget = "range:20000-30000";
    record.seeds = seeds;
    record.key = hex(64);
    record.commands = {fmt::format("train_sisa --data data/cifar-100-binary --model resnet32 --seed {} --out {}",
                                   seeds.training, name),
                       fmt::format("eval_mia --run {} --forget range:20000-30000 --json {}-mia.json", name, name)};
    record.digests = {{fmt::format("{}.safetensors", name), hex(64)}, {fmt::format("{}.json", name), hex(64)}};
    record.forgotten = 10000;
    record.whole =
        examined(method == Method::sisa || method == Method::unlearning ? "mean posterior" : "network", outcome);
    record.losses = losses(outcome, record.whole.attack.mia);
    const double passes = static_cast<double>(outcome.passes);
    record.cost = {.sample_passes = outcome.passes,
                   .multiply_adds = static_cast<std::int64_t>(3 * outcome.macs_per_sample * passes),
                   .train_seconds = passes / (6000 + noise(100)) * outcome.macs_per_sample / 69.1e6,
                   .eval_seconds = 6 + noise(0.2),
                   .attack_seconds = 1.4 + noise(0.1)};
    if (method == Method::weights) record.cost.train_seconds.reset();
    study_->records.push_back(record);
    return study_->records.back();
  }

  /// The shards, the vote and the slices of a run.
  void add_parts(Record& record, const Outcome& outcome, bool forgotten) {
    const auto shards = static_cast<std::size_t>(outcome.shards);
    record.vote = examined("majority vote", outcome);
    record.vote->attack = {.mia = {}, .reason = "a vote has no loss"};
    record.vote->sets.at("test").top1 -= 0.012;
    for (auto& [set, metrics] : record.vote->sets) metrics.loss.reset();
    for (std::size_t shard = 0; shard < shards; ++shard) {
      Outcome one = outcome;
      one.test -= 0.08;
      one.forget = shard == 1 || shard == 2 ? (forgotten ? one.test : one.train + 0.1) : one.test;
      one.forget_loss = one.forget > one.test ? one.forget_loss : one.test_loss;
      Examined examined_shard = examined(fmt::format("shard {}", shard), one);
      if (shard == 1 || shard == 2) {
        Outcome own = one;
        own.forget_loss = forgotten ? own.test_loss : own.forget_loss * 0.4;
        examined_shard.own = attack(own, 5000);
      } else {
        examined_shard.own = {.mia = {}, .reason = "0 members after cutting, 10 are needed"};
      }
      record.shards.push_back(examined_shard);
    }
    for (int slice = 0; slice < 5; ++slice) {
      const double seen = outcome.train + 0.12 - 0.06 * slice;
      record.slices.push_back({.count = 10000,
                               .top1 = std::clamp(forgotten ? seen - 0.04 * (slice % 2) : seen, 0.0, 1.0),
                               .top5 = 0.95,
                               .loss = 1.0});
    }
  }

  void add_map(Record& record, bool everywhere) {
    RequestMap map;
    for (int shard = 0; shard < 4; ++shard) {
      RequestMap::Shard one{.samples = {2500, 2500, 2500, 2500, 2500}, .forgotten = {0, 0, 0, 0, 0}};
      if (everywhere) {
        one.forgotten = {500, 480, 520, 510, 490};
        one.first_stage = 1;
        one.trained = {1, 2, 3, 4, 5};
      } else if (shard == 1) {
        one.forgotten = {0, 0, 0, 2500, 2500};
        one.first_stage = 4;
        one.skipped = {4, 5};
      } else if (shard == 2) {
        one.forgotten = {2500, 2500, 0, 0, 0};
        one.first_stage = 1;
        one.skipped = {1, 2};
        one.trained = {3, 4, 5};
      }
      map.shards.push_back(one);
    }
    record.map = map;
  }

  /// From one accuracy towards another, by epochs first … last on shard 0 of `of`.
  struct Course {
    double from = 0, to = 1, rate = 10;
    double at(int epochs) const { return from + (to - from) * (1 - std::exp(-epochs / rate)); }
  };
  void add_curve(Record& record, int first, int last, int of, const Course& train, const Course& test, double wobble) {
    const auto near = [&](double value) { return std::clamp(value + noise(wobble), 0.0, 1.0); };
    for (int epoch = first; epoch <= last; ++epoch) {
      const int done = epoch - first + 1;
      record.curve.push_back({.epoch = epoch,
                              .sample_passes = static_cast<std::int64_t>(epoch) * samples / of,
                              .train_top1 = near(train.at(done)),
                              .train_top5 = near(train.at(done) + 0.1),
                              .test_top1 = near(test.at(done)),
                              .test_top5 = near(test.at(done) + 0.25)});
    }
  }

  double noise(double deviation) { return std::normal_distribution<double>(0, deviation)(draw_); }

 private:
  std::string hex(int digits) {
    std::string text;
    for (int i = 0; i < digits; ++i) text += "0123456789abcdef"[draw_() % 16];
    return text;
  }

  Examined examined(const std::string& who, const Outcome& outcome) {
    const auto metrics = [&](std::int64_t count, double top1, double loss) {
      const double value = std::clamp(top1 + noise(0.003), 0.0, 1.0);
      return Metrics{
          .count = count, .top1 = value, .top5 = std::min(1.0, value + (1 - value) * outcome.top5), .loss = loss};
    };
    Examined result{.who = who};
    result.sets["test"] = metrics(test_samples, outcome.test, 1.5 * outcome.test_loss);
    result.sets["train"] = metrics(samples, outcome.train, outcome.forget_loss);
    result.sets["forget"] = metrics(10000, outcome.forget, 1.5 * outcome.forget_loss);
    result.sets["retain"] = metrics(40000, outcome.train, outcome.forget_loss);
    result.attack = attack(outcome, 10000);
    return result;
  }

  /// Of two log-normal losses of one spread the best threshold and the AUC are those of two normal distributions.
  MiaOutcome attack(const Outcome& outcome, int members) {
    const double apart = std::log(outcome.test_loss / outcome.forget_loss) / spread;
    Mia mia{.members = members, .nonmembers = members};
    for (int split = 0; split < 10; ++split) mia.scores.push_back(cumulative(apart / 2) + noise(0.008));
    for (const double score : mia.scores) mia.mean += score / 10;
    double squares = 0;
    for (const double score : mia.scores) squares += (score - mia.mean) * (score - mia.mean);
    mia.standard_error = std::sqrt(squares / 9 / 10);
    mia.auc = cumulative(apart / std::sqrt(2.0)) + noise(0.002);
    mia.interval = {mia.auc - 0.008, mia.auc + 0.0082};
    mia.tpr_at_fpr = {{"0.001", cumulative(apart - 3.09)}, {"0.01", cumulative(apart - 2.326)}};
    return {.mia = mia, .reason = {}};
  }

  LossView losses(const Outcome& outcome, const std::optional<Mia>& mia) {
    LossView view;
    constexpr int bins = 40;
    for (int i = 0; i <= bins; ++i) view.edges.push_back(std::pow(10, -4 + 5.5 * i / bins));
    const auto histogram = [&](double median, std::int64_t count) {
      std::vector<std::int64_t> counts;
      double below = 0;
      for (int i = 1; i <= bins; ++i) {
        const double share =
            i == bins ? 1 : cumulative(std::log(view.edges[static_cast<std::size_t>(i)] / median) / spread);
        counts.push_back(std::llround(static_cast<double>(count) * (share - below)));
        below = share;
      }
      return counts;
    };
    view.forget = histogram(outcome.forget_loss, 10000);
    view.test = histogram(outcome.test_loss, test_samples);
    if (!mia) return view;
    const double apart = std::log(outcome.test_loss / outcome.forget_loss) / spread;
    view.fpr.push_back(0);
    view.tpr.push_back(0);
    for (int i = 0; i <= 160; ++i) {
      const double threshold = -3.719 + 7.719 * i / 160;
      view.fpr.push_back(cumulative(threshold));
      view.tpr.push_back(cumulative(threshold + apart));
    }
    return view;
  }

  static constexpr double spread = 1.6;
  static double cumulative(double z) { return 0.5 * std::erfc(-z / std::sqrt(2.0)); }

  StudyRecord* study_;
  std::mt19937 draw_{1};
};

}  // namespace

StudyRecord sample_study() {
  StudyRecord study{.preset = "full",
                    .version = "0.1.0",
                    .command = "run_study --preset full --data data/cifar-100-binary --out study",
                    .data_name = "CIFAR-100",
                    .train_digest = "735c0f4d8a5b4d4f0c6b8a9f5a8e1d3c2b7a6f5e4d3c2b1a0f9e8d7c6b5a4f3e",
                    .test_digest = "1a0f9e8d7c6b5a4f3e735c0f4d8a5b4d4f0c6b8a9f5a8e1d3c2b7a6f5e4d3c2b",
                    .samples = samples,
                    .test_samples = test_samples,
                    .classes = classes,
                    .device = "NVIDIA H100 80GB HBM3",
                    .precision = "bf16",
                    .libraries = "CUDA 13.0, cuDNN 9.19.0, fmt 9.1.0",
                    .rate_model = "resnet32",
                    .samples_per_second = 6012.4};
  study.records.reserve(256);
  Maker maker(study);
  const auto of_model = [](Record& record, const char* model) { record.experiment.config.model = model; };

  Outcome weights{.test = 0.726,
                  .train = 0.93,
                  .forget = 0.93,
                  .top5 = 0.72,
                  .forget_loss = 0.05,
                  .test_loss = 0.45,
                  .macs_per_sample = 125.8e6};
  of_model(maker.add("weights-resnet56", "Published ResNet56", Method::weights, weights, {}, false), "resnet56");
  for (const auto& [suffix, epochs, title] :
       {std::tuple{"", 20, "Published ResNet56, fine-tuned"}, std::tuple{"-5", 5, "Published ResNet56, 5 epochs"}}) {
    Outcome tuned = weights;
    tuned.test = 0.70 - 0.001 * (20 - epochs), tuned.train = 0.91, tuned.forget = 0.74, tuned.forget_loss = 0.4,
    tuned.test_loss = 0.5;
    tuned.passes = 40000 * epochs;
    Record& record =
        maker.add(fmt::format("finetuned-resnet56{}", suffix), title, Method::fine_tuning, tuned, {}, false);
    of_model(record, "resnet56");
    record.experiment.from = "weights-resnet56";
    record.experiment.config.epochs = {epochs};
  }
  const std::vector<Seeds> seeds{{1, 1, 1}, {2, 2, 2}, {3, 3, 3}};
  struct Single {
    const char *name, *title;
    Method method;
    Outcome outcome;
    const char* ceiling;
  };
  const std::vector<Single> singles{{"baseline",
                                     "One network",
                                     Method::training,
                                     {.test = 0.69,
                                      .train = 0.96,
                                      .forget = 0.96,
                                      .top5 = 0.7,
                                      .forget_loss = 0.06,
                                      .test_loss = 0.6,
                                      .passes = 10000000},
                                     "golden"},
                                    {"finetuned",
                                     "One network, fine-tuned",
                                     Method::fine_tuning,
                                     {.test = 0.67,
                                      .train = 0.9,
                                      .forget = 0.72,
                                      .top5 = 0.7,
                                      .forget_loss = 0.42,
                                      .test_loss = 0.6,
                                      .passes = 800000},
                                     "golden"},
                                    {"finetuned-5",
                                     "One network, 5 epochs",
                                     Method::fine_tuning,
                                     {.test = 0.65,
                                      .train = 0.86,
                                      .forget = 0.74,
                                      .top5 = 0.7,
                                      .forget_loss = 0.38,
                                      .test_loss = 0.6,
                                      .passes = 200000},
                                     "golden"},
                                    {"golden",
                                     "Retrained without F",
                                     Method::training,
                                     {.test = 0.67,
                                      .train = 0.9,
                                      .forget = 0.67,
                                      .top5 = 0.7,
                                      .forget_loss = 0.6,
                                      .test_loss = 0.6,
                                      .passes = 8000000},
                                     ""}};
  for (const Single& single : singles) {
    for (const Seeds& seed : seeds) {
      Outcome outcome = single.outcome;
      outcome.test += maker.noise(0.004);
      outcome.forget_loss *= std::exp(maker.noise(0.03));
      Record& record = maker.add(single.name, single.title, single.method, outcome, seed, true);
      record.experiment.ceiling = single.ceiling;
      record.experiment.without_forget = std::string(single.name) == "golden";
      if (single.method == Method::fine_tuning) record.experiment.from = "baseline";
    }
  }
  const auto add_run = [&](const std::string& base, const std::string& title, Outcome outcome, const std::string& model,
                           const Seeds& seed, bool several, const std::string& remark) {
    for (const auto& [suffix, state] : {std::pair{"", ""}, std::pair{"-unlearned", ", F unlearned"},
                                        std::pair{"-retrained", ", retrained without F"}}) {
      Outcome now = outcome;
      const bool forgotten = *suffix != 0;
      if (forgotten) {
        now.test -= 0.012;
        now.forget = now.test;
        now.forget_loss = now.test_loss;
        now.passes = std::string(suffix) == "-unlearned" ? outcome.passes * 70 / 800 : outcome.passes * 640 / 800;
      }
      now.test += maker.noise(0.003);
      Record& record =
          maker.add(fmt::format("{}{}", base, suffix), fmt::format("{}{}", title, state),
                    std::string(suffix) == "-unlearned" ? Method::unlearning : Method::sisa, now, seed, several);
      record.experiment.config.model = model;
      record.experiment.remark = remark;
      if (std::string(suffix) != "-retrained") record.experiment.ceiling = fmt::format("{}-retrained", base);
      if (std::string(suffix) == "-unlearned") {
        record.experiment.from = base;
        maker.add_map(record, false);
      }
      maker.add_parts(record, now, forgotten);
      if (!forgotten) {
        const double rate = model == "resnet34" ? 1.2 : 2.2;
        for (int stage = 1; stage <= 5; ++stage) {
          const double t = 1 - std::exp(-stage / rate);
          record.curve.push_back({.epoch = stage,
                                  .sample_passes = 12500LL * stage * 3,
                                  .train_top1 = now.train * t,
                                  .train_top5 = 0.9 * t,
                                  .test_top1 = (now.test - 0.06) * t + maker.noise(0.004),
                                  .test_top5 = 0.8 * t});
        }
      }
    }
  };
  const Outcome scratch{.test = 0.47,
                        .train = 0.66,
                        .forget = 0.66,
                        .top5 = 0.6,
                        .forget_loss = 1.1,
                        .test_loss = 1.7,
                        .passes = 800000,
                        .shards = 4};
  for (const Seeds& seed : seeds) add_run("sisa", "SISA", scratch, "resnet32", seed, true, "");
  add_run("transfer", "SISA with transfer",
          {.test = 0.765,
           .train = 0.89,
           .forget = 0.89,
           .top5 = 0.83,
           .forget_loss = 0.4,
           .test_loss = 0.66,
           .passes = 800000,
           .macs_per_sample = 300e6,
           .shards = 4},
          "resnet34", {}, false, "Pictures of 64 px, not 224; one seed.");
  for (const auto& [shards, test, train, rate] :
       {std::tuple{2, 0.53, 0.72, 8.0}, std::tuple{4, 0.43, 0.78, 9.0}, std::tuple{10, 0.28, 0.93, 11.0}}) {
    for (const Seeds& seed : seeds) {
      Outcome outcome{.test = test,
                      .train = train,
                      .forget = train,
                      .top5 = 0.6,
                      .forget_loss = 0.8,
                      .test_loss = 2.2,
                      .passes = 40LL * samples / shards};
      Record& record = maker.add(fmt::format("shards-{}", shards), fmt::format("Shard 0 of {}", shards),
                                 Method::training, outcome, seed, true);
      record.experiment.config.shards = shards;
      record.experiment.curve = true;
      maker.add_curve(record, 1, 40, shards, {0, train, rate}, {0, test, 0.6 * rate}, 0.018);
    }
  }
  {
    Outcome outcome{.test = 0.51,
                    .train = 0.97,
                    .forget = 0.97,
                    .top5 = 0.6,
                    .forget_loss = 0.2,
                    .test_loss = 1.9,
                    .passes = 100LL * samples / 4};
    Record& record = maker.add("shards-4-more", "Shard 0 of 4, 100 more epochs", Method::training, outcome, {}, false);
    record.experiment.config.shards = 4;
    record.experiment.from = "shards-4";
    maker.add_curve(record, 41, 140, 4, {0.78, 0.98, 30}, {0.43, 0.51, 20}, 0.006);
  }
  for (const char* kind : {"clustered", "spread", "class", "random"}) {
    const bool everywhere = std::string(kind) != "clustered";
    Outcome outcome = scratch;
    outcome.test = everywhere ? 0.44 : 0.46;
    outcome.forget = outcome.test - (std::string(kind) == "class" ? 0.44 : 0);
    outcome.forget_loss = outcome.test_loss * (std::string(kind) == "class" ? 2.5 : 1);
    outcome.passes = everywhere ? 610000 : 70000;
    Record& record =
        maker.add(fmt::format("shape-{}", kind), fmt::format("F {}", kind), Method::unlearning, outcome, {}, false);
    record.experiment.from = "sisa";
    record.experiment.ceiling = "sisa-retrained";
    maker.add_map(record, everywhere);
    maker.add_parts(record, outcome, true);
  }
  for (const int shards : {1, 2, 4, 8}) {
    for (const int slices : {1, 5}) {
      Outcome outcome = scratch;
      outcome.shards = shards;
      outcome.test = 0.68 - 0.1 * std::log2(shards);
      outcome.passes = 800000;
      for (const bool unlearned : {false, true}) {
        Outcome now = outcome;
        if (unlearned)
          now.test -= 0.01, now.forget_loss = now.test_loss,
                            now.passes = 800000 / (shards > 1 ? shards / 2 : 1) * (slices + 1) / (2 * slices);
        Record& record = maker.add(fmt::format("sweep-s{}-r{}{}", shards, slices, unlearned ? "-unlearned" : ""),
                                   fmt::format("S = {}, R = {}", shards, slices),
                                   unlearned ? Method::unlearning : Method::sisa, now, {}, false);
        record.experiment.config.shards = shards;
        record.experiment.config.epochs = std::vector<int>(static_cast<std::size_t>(slices), 6);
        if (unlearned) record.experiment.from = fmt::format("sweep-s{}-r{}", shards, slices);
      }
    }
  }
  for (const int shards : {1, 2, 4, 10}) {
    for (const int slices : {1, 2, 5, 10}) {
      for (const int requests : {1, 10, 100}) {
        const int epochs = (2 * 30 + slices) / (slices + 1);
        const double one = 30.0 * samples / shards * (2.0 / 3 + 1.0 / (3 * slices));
        const double touched = shards * (1 - std::pow(1 - 1.0 / shards, requests));
        study.costs.push_back({.shards = shards,
                               .slices = slices,
                               .epochs = epochs,
                               .requests = requests,
                               .training_passes = 30LL * samples,
                               .request_passes = std::min(one * touched * (1 + maker.noise(0.01)), 30.0 * samples),
                               .draws = 1000,
                               .shards_touched = std::min<double>(shards, touched * (1 + maker.noise(0.004))),
                               .formula_shards = touched,
                               .formula_passes = requests == 1 ? std::optional(one) : std::nullopt});
      }
    }
  }
  return study;
}

}  // namespace nepenthe::test
