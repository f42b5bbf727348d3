// Objectives beyond plain training: NegGrad+ and SCRUB (Kurmanji et al. 2023, arXiv 2302.09880), written here as any
// method would be, against PyTorch in double (tests/golden).
#include "engine/objective.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "engine/base/file.h"
#include "engine/formats/safetensors.h"
#include "engine/image_set.h"
#include "engine/training.h"
#include "golden.h"
#include "shared_data.h"
#include "small_network.h"

namespace nepenthe::tests {
namespace {

using Ids = std::vector<std::int32_t>;

/// The batches that an objective draws from.
struct Samples {
  const ImageSet* images;
  Ids retain, forget;
  int retain_batch, forget_batch;

  Draw retained(const Losses& losses) const {
    return {.samples = images, .ids = retain, .batch = retain_batch, .losses = losses};
  }
  Draw forgotten(const Losses& losses) const {
    return {.samples = images, .ids = forget, .batch = forget_batch, .losses = losses};
  }
};

/// Each step descends on a batch of what is retained and ascends on one of what is forgotten:
/// alpha·CE(retain) − (1 − alpha)·CE(forget).
class NegGradPlus : public Objective {
 public:
  NegGradPlus(Samples samples, double alpha, const std::uint8_t* mask = nullptr)
      : samples_(std::move(samples)), alpha_(alpha), mask_(mask) {}
  std::vector<Phase> phases(int) const override {
    return {
        {.name = "retain and forget",
         .draws = {samples_.retained({.cross_entropy = alpha_}), samples_.forgotten({.cross_entropy = alpha_ - 1})}}};
  }
  const std::uint8_t* mask() const override { return mask_; }

 private:
  Samples samples_;
  double alpha_;
  const std::uint8_t* mask_;
};

struct ScrubSettings {
  double alpha, gamma, temperature;
  int max_epochs;   // that begin by moving away from the teacher on what is forgotten
  int decay_after;  // epochs; then a tenth of the learning rate
};

/// Away from the teacher on what is forgotten, towards it and the labels on what is retained.
class Scrub : public Objective {
 public:
  Scrub(Samples samples, const ScrubSettings& settings, ModelState& teacher)
      : samples_(std::move(samples)), settings_(settings), teacher_(&teacher) {}
  std::vector<Phase> phases(int epoch) const override {
    std::vector<Phase> phases;
    const auto losses = [&](double cross_entropy, double distillation) {
      return Losses{.cross_entropy = cross_entropy,
                    .distillation = distillation,
                    .teacher = teacher_,
                    .temperature = settings_.temperature};
    };
    if (epoch < settings_.max_epochs) {
      phases.push_back({.name = "away on what is forgotten", .draws = {samples_.forgotten(losses(0, -1))}});
    }
    phases.push_back({.name = "towards on what is retained",
                      .draws = {samples_.retained(losses(settings_.gamma, settings_.alpha))}});
    return phases;
  }
  double rate_factor(const Recipe&, int epoch) const override { return epoch < settings_.decay_after ? 1 : 0.1; }
  void epoch_ended(int epoch, ModelState&) override { ended.push_back(epoch); }

  std::vector<int> ended;

 private:
  Samples samples_;
  ScrubSettings settings_;
  ModelState* teacher_;
};

/// The golden file's pictures (8 x 8) and labels.
ImageSet golden_images(Device& device, int count) {
  std::vector<std::uint8_t> pixels(std::size_t(count) * 3 * 8 * 8);
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = static_cast<std::uint8_t>(random_bits({.seed = 11}, static_cast<std::uint32_t>(i)).x >> 24);
  }
  return ImageSet(device, pixels, random_labels(count, 5, 12),
                  {{.mean = {0.5f, 0.4f, 0.6f}, .std = {0.25f, 0.3f, 0.2f}}, 8}, 8);
}

struct Bench {
  Device device{test_device()};
  nlohmann::json settings = golden_json("objectives.json");
  Golden golden{"objectives.safetensors"};
  std::shared_ptr<const Architecture> architecture = std::make_shared<SmallNetwork>();
  ImageSet images = golden_images(device, 27);
  ModelState teacher{device, architecture}, model{device, architecture};
  DeviceArray<std::uint8_t> mask;

  Bench() {
    reset(teacher);
    reset(model);
    std::vector<std::uint8_t> bytes(architecture->layout().parameter_floats());
    for (const ParameterSpec& spec : architecture->layout().specs()) {
      if (is_statistic(spec.role)) continue;
      const std::string name = "mask/" + spec.name;
      const auto values = spec.role == Role::conv_weight ? golden.channels_last(name) : golden.values(name);
      std::ranges::copy(values, bytes.begin() + static_cast<std::ptrdiff_t>(spec.offset));
    }
    mask = DeviceArray<std::uint8_t>(device, bytes);
  }

  void reset(ModelState& state) {
    StateDict initial;
    for (const ParameterSpec& spec : architecture->layout().specs()) {
      initial.add(spec.name, golden.tensor("initial/" + spec.name));
    }
    state.load_state_dict(initial);
  }

  Samples samples() const {
    return {.images = &images,
            .retain = settings.at("retain"),
            .forget = settings.at("forget"),
            .retain_batch = settings.at("retain_batch"),
            .forget_batch = settings.at("forget_batch")};
  }

  std::unique_ptr<Objective> objective(const nlohmann::json& of) {
    if (of.at("method") == "neggrad") {
      return std::make_unique<NegGradPlus>(samples(), of.at("alpha"), of.at("masked") ? mask.data() : nullptr);
    }
    const ScrubSettings scrub{.alpha = of.at("alpha"),
                              .gamma = of.at("gamma"),
                              .temperature = of.at("temperature"),
                              .max_epochs = of.at("max_epochs"),
                              .decay_after = of.at("decay_after")};
    return std::make_unique<Scrub>(samples(), scrub, teacher);
  }

  TrainingJob job(const nlohmann::json& of) const {
    const bool adam = of.at("optimizer") == "adam";
    return {.recipe = {.epochs = settings.at("epochs"),
                       .optimizer = adam ? OptimizerKind::adam : OptimizerKind::sgd,
                       .lr = of.at("lr"),
                       .nesterov = false,
                       .weight_decay = adam ? 0 : 5e-4,
                       .schedule = Schedule::constant,
                       .augment = false},
            .stream = {.seed = 5, .shard = 1, .stage = 2},
            .what = "the objective",
            .state_file = {},
            .identity = "the objective"};
  }
};

std::vector<std::byte> bytes_of(const ModelState& model) { return serialize_safetensors(model.state_dict()); }

struct StopAt : Observer {
  explicit StopAt(int its_step) : step(its_step) {}
  bool stop_requested() override { return step-- == 0; }
  int step;
};

TEST_CASE("objectives: NegGrad+ and SCRUB, with SGD and Adam, masked too, are PyTorch's in double") {
  Bench bench;
  for (const auto& [name, of] : bench.settings.at("cases").items()) {
    CAPTURE(name);
    bench.reset(bench.model);
    Observer silent;
    const auto teacher_before = bytes_of(bench.teacher);
    const TrainingResult result = Trainer(bench.model).run(*bench.objective(of), bench.job(of), silent);
    CHECK(result.loss == doctest::Approx(bench.golden.value(name + "/loss")).epsilon(1e-5));
    CHECK(bytes_of(bench.teacher) == teacher_before);  // frozen, its statistics too
    const StateDict state = bench.model.state_dict();
    double worst = 0;
    for (const auto& [tensor, values] : state.entries) {
      CAPTURE(tensor);
      const double error = relative_error(values.to_f32(), bench.golden.values(name + "/" + tensor));
      CHECK(error <= 2e-5);
      worst = std::max(worst, error);
      if (of.at("masked") && !tensor.starts_with("bn.running")) {
        const auto may = bench.golden.values("mask/" + tensor);
        const auto before = bench.golden.tensor("initial/" + tensor).to_f32(), after = values.to_f32();
        for (std::size_t i = 0; i < may.size(); ++i) CHECK((may[i] != 0 || before[i] == after[i]));
      }
    }
    const bool neggrad = of.at("method") == "neggrad";
    // NegGrad+: 3 steps of 20 retained samples in all, each with a batch of 4 or 3 of what is forgotten, in 3 epochs.
    CHECK(result.sample_passes == (neggrad ? 3 * (20 + 4 + 3 + 4) : 3 * 20 + 2 * 7));
    MESSAGE(name, ": every tensor within ", worst, " of PyTorch's in double");
  }
}

TEST_CASE("objectives: interrupted before any step and resumed, the bits are those of a run in one go") {
  Bench bench;
  const TemporaryFolder folder;
  for (const char* name : {"neggrad_adam", "scrub_sgd"}) {
    CAPTURE(name);
    const auto of = bench.settings.at("cases").at(name);
    const int steps = of.at("method") == "neggrad" ? 9 : 2 * 5 + 3;
    Observer silent;
    bench.reset(bench.model);
    Trainer(bench.model).run(*bench.objective(of), bench.job(of), silent);
    const auto expected = bytes_of(bench.model);
    TrainingJob job = bench.job(of);
    job.state_file = folder / "state.safetensors";
    for (int stop = 0; stop < steps; ++stop) {
      CAPTURE(stop);
      std::filesystem::remove(job.state_file);
      bench.reset(bench.model);
      StopAt stopper(stop);
      CHECK_THROWS_AS(Trainer(bench.model).run(*bench.objective(of), job, stopper), Interrupted);
      bench.reset(bench.model);
      Trainer(bench.model).run(*bench.objective(of), job, silent);
      CHECK(bytes_of(bench.model) == expected);
    }
  }
}

TEST_CASE("objectives: the hook comes once an epoch; a phase must stay what its name says") {
  Bench bench;
  const auto of = bench.settings.at("cases").at("scrub_sgd");
  const auto scrub = bench.objective(of);
  Observer silent;
  Trainer(bench.model).run(*scrub, bench.job(of), silent);
  CHECK(dynamic_cast<const Scrub&>(*scrub).ended == std::vector<int>{0, 1, 2});

  struct Changing : Objective {
    explicit Changing(Samples its_samples) : samples(std::move(its_samples)) {}
    std::vector<Phase> phases(int epoch) const override {
      return {{.name = "same", .draws = {samples.retained({.cross_entropy = epoch + 1.0})}}};
    }
    Samples samples;
  };
  Changing changing(bench.samples());
  CHECK_THROWS_AS(Trainer(bench.model).run(changing, bench.job(of), silent), std::logic_error);
}

}  // namespace
}  // namespace nepenthe::tests
