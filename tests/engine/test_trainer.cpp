// A trainer in several jobs: later ones replay the steps of earlier ones where they are the same, and only there, and
// have the bits of jobs of a trainer of their own.
#include <functional>
#include <memory>
#include <new>
#include <numeric>
#include <optional>

#include "device.h"
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/feature_set.h"
#include "engine/formats/safetensors.h"
#include "engine/image_set.h"
#include "engine/training.h"
#include "golden.h"
#include "shared_data.h"
#include "small_network.h"

namespace nepenthe::tests {
namespace {

using Ids = std::vector<std::int32_t>;
using Bytes = std::vector<std::byte>;

constexpr int side = 8;

/// Random pictures of 5 classes; others by another seed.
ImageSet random_images(Device& device, std::uint64_t seed) {
  constexpr int count = 40;
  std::vector<std::uint8_t> pixels(std::size_t{count} * 3 * side * side);
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = static_cast<std::uint8_t>(random_bits({.seed = seed}, static_cast<std::uint32_t>(i)).x >> 24);
  }
  return ImageSet(device, pixels, random_labels(count, 5, 12),
                  {{.mean = {0.5f, 0.4f, 0.6f}, .std = {0.25f, 0.3f, 0.2f}}, side}, side);
}

Ids ids_from(int first, int count) {
  Ids ids(static_cast<std::size_t>(count));
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

/// One phase, the same in every epoch.
struct OnePhase : Objective {
  std::vector<Draw> draws;
  const std::uint8_t* its_mask = nullptr;
  std::vector<Phase> phases(int) const override { return {{.name = "train", .draws = draws}}; }
  const std::uint8_t* mask() const override { return its_mask; }
};

/// A job in all its parts.
struct Job {
  TrainingJob job{.recipe = {.epochs = 2, .batch = 8, .lr = 0.05, .nesterov = false},
                  .stream = {.seed = 5, .shard = 1, .stage = 2},
                  .what = "a job",
                  .state_file = {},
                  .identity = "this job"};
  OnePhase objective{};
};

struct StopAt : Observer {
  explicit StopAt(int its_step) : step(its_step) {}
  bool stop_requested() override { return step-- == 0; }
  int step;
};

struct Bench {
  explicit Bench(const DeviceSettings& settings = test_device()) : device(settings) {
    teacher.initialize({.seed = 2});
    other_teacher.initialize({.seed = 3});
  }

  Device device;
  std::shared_ptr<const Architecture> architecture = std::make_shared<SmallNetwork>();
  ImageSet images = random_images(device, 11), other_images = random_images(device, 12);
  ModelState teacher{device, architecture}, other_teacher{device, architecture};
  ModelState model{device, architecture};

  Job plain(const Ids& ids) const {
    Job job;
    job.objective.draws = {{.samples = &images, .ids = ids, .batch = job.job.recipe.batch, .losses = {}}};
    return job;
  }

  struct Outcome {
    Bytes state;
    std::size_t captures;
  };
  /// From the weights that every job here starts from.
  Outcome run(Trainer& trainer, Job& job) const {
    Observer silent;
    trainer.model().initialize({.seed = 1});
    const TrainingResult result = trainer.run(job.objective, job.job, silent);
    return {serialize_safetensors(trainer.model().state_dict()), result.captures};
  }
  /// By a trainer that has done nothing else.
  Bytes alone(Job& job) {
    ModelState own(device, architecture);
    Trainer trainer(own);
    return run(trainer, job).state;
  }
};

struct Stage {
  int samples, epochs;
  double lr;
  std::size_t captures;
};
constexpr Stage stages[] = {{16, 2, 0.05, 1},  // 8, 8
                            {19, 2, 0.02, 1},  // 8, 8, 3: the last one alone is new
                            {27, 1, 0.02, 0},  // 8, 8, 8, 3
                            {26, 2, 0.01, 1},  // 8, 8, 8, 2
                            {40, 2, 0.01, 0},  // whole batches
                            {19, 2, 0.02, 1},  // that of 3 is no longer kept
                            {3, 2, 0.02, 0}};  // it alone

/// What each stage leaves, one trainer making all of them.
std::vector<Bytes> states_of_stages(const DeviceSettings& settings) {
  std::vector<Bytes> states;
  Bench bench(settings);
  Trainer trainer(bench.model);
  std::size_t used = 0, reserved = 0;
  for (const auto& [samples, epochs, lr, captures] : stages) {
    const std::size_t stage = states.size();
    CAPTURE(stage);
    Job job = bench.plain(ids_from(static_cast<int>(stage) % (41 - samples), samples));
    job.job.recipe.epochs = epochs;
    job.job.recipe.lr = lr;
    job.job.stream.shard = static_cast<std::uint32_t>(stage / 4);
    job.job.stream.stage = static_cast<std::uint32_t>(stage % 4);
    const Bench::Outcome outcome = bench.run(trainer, job);
    CHECK(outcome.captures == (settings.eager ? 0 : captures));
    CHECK(outcome.state == bench.alone(job));
    states.push_back(outcome.state);
    // What is kept does not grow, but for the orders, which fit one block of the arena here.
    if (stage == 0) {
      used = bench.device.arena().used_bytes();
      reserved = bench.device.step_arena().reserved_bytes();
    }
    CHECK(bench.device.arena().used_bytes() == used);
    CHECK(bench.device.step_arena().reserved_bytes() == reserved);
  }
  return states;
}

TEST_CASE("trainer: stages of one shard and of the next replay one captured step, with the bits of each alone") {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    CAPTURE(std::string(name(precision)));
    DeviceSettings settings = test_device();
    settings.precision = precision;
    const std::vector<Bytes> captured = states_of_stages(settings);
    settings.eager = true;
    CHECK(states_of_stages(settings) == captured);
  }
}

TEST_CASE("trainer: steps are captured anew where anything that they have in them is another, and nowhere else") {
  Bench bench;
  const DeviceArray<std::uint8_t> mask = head_mask(bench.model);
  const DeviceArray<std::uint8_t> other_mask(bench.device,
                                             std::vector<std::uint8_t>(bench.model.layout().parameter_floats(), 1));
  const auto first = [&] {
    Job job = bench.plain(ids_from(0, 24));
    job.objective.its_mask = mask.data();
    job.objective.draws[0].losses = {
        .cross_entropy = 1, .distillation = 0.5, .teacher = &bench.teacher, .temperature = 2};
    return job;
  };
  using Change = std::function<void(Job&)>;
  const auto check = [&](const char* what, const Change& change, std::size_t captures) {
    CAPTURE(what);
    Trainer trainer(bench.model);
    Job job = first(), changed = first();
    change(changed);
    const Bytes expected = bench.alone(job), expected_of_changed = bench.alone(changed);
    CHECK(expected != expected_of_changed);
    CHECK(bench.run(trainer, job).captures == 1);
    const Bench::Outcome again = bench.run(trainer, job), of_changed = bench.run(trainer, changed),
                         back = bench.run(trainer, job);
    CHECK(again.captures == 0);
    CHECK(again.state == expected);
    CHECK(of_changed.captures == captures);
    CHECK(of_changed.state == expected_of_changed);
    CHECK(back.captures == captures);
    CHECK(back.state == expected);
  };
  // All that a Recipe has.
  check(
      "epochs", [](Job& j) { j.job.recipe.epochs = 3; }, 0);
  check(
      "lr", [](Job& j) { j.job.recipe.lr = 0.1; }, 0);
  check(
      "fc_lr", [](Job& j) { j.job.recipe.fc_lr = 0.01; }, 0);
  check(
      "schedule", [](Job& j) { j.job.recipe.schedule = Schedule::constant; }, 0);
  check(
      "optimizer", [](Job& j) { j.job.recipe.optimizer = OptimizerKind::adam; }, 1);
  check(
      "momentum", [](Job& j) { j.job.recipe.momentum = 0.8; }, 1);
  check(
      "nesterov", [](Job& j) { j.job.recipe.nesterov = true; }, 1);
  check(
      "dampening", [](Job& j) { j.job.recipe.dampening = 0.5; }, 1);
  check(
      "weight decay", [](Job& j) { j.job.recipe.weight_decay = 0.1; }, 1);
  check(
      "augment", [](Job& j) { j.job.recipe.augment = false; }, 1);
  check(
      "batch", [](Job& j) { j.job.recipe.batch = j.objective.draws[0].batch = 12; }, 1);
  // The random stream, but for what the loop fills in.
  check(
      "seed", [](Job& j) { j.job.stream.seed = 6; }, 0);
  check(
      "shard", [](Job& j) { j.job.stream.shard = 2; }, 0);
  check(
      "stage", [](Job& j) { j.job.stream.stage = 3; }, 0);
  // The objective and its draws.
  check(
      "no mask", [](Job& j) { j.objective.its_mask = nullptr; }, 1);
  check(
      "mask", [&](Job& j) { j.objective.its_mask = other_mask.data(); }, 1);
  check(
      "ids", [](Job& j) { j.objective.draws[0].ids = ids_from(4, 24); }, 0);
  check(
      "fewer ids", [](Job& j) { j.objective.draws[0].ids = ids_from(0, 16); }, 0);
  check(
      "more ids", [](Job& j) { j.objective.draws[0].ids = ids_from(0, 40); }, 0);
  check(
      "samples", [&](Job& j) { j.objective.draws[0].samples = &bench.other_images; }, 1);
  check(
      "cross entropy", [](Job& j) { j.objective.draws[0].losses.cross_entropy = 0.5; }, 1);
  check(
      "distillation", [](Job& j) { j.objective.draws[0].losses.distillation = -0.1; }, 1);
  check(
      "no teacher", [](Job& j) { j.objective.draws[0].losses = {}; }, 1);
  check(
      "teacher", [&](Job& j) { j.objective.draws[0].losses.teacher = &bench.other_teacher; }, 1);
  check(
      "temperature", [](Job& j) { j.objective.draws[0].losses.temperature = 4; }, 1);
  check(
      "another draw", [](Job& j) { j.objective.draws.push_back(j.objective.draws[0]); }, 1);
  // Eight of a batch of eight, and the same as the last ones of a batch of sixteen, whose engines they take.
  {
    Trainer trainer(bench.model);
    Job job = bench.plain(ids_from(0, 8)), last = job;
    last.objective.draws[0].batch = 16;
    CHECK(bench.run(trainer, job).captures == 1);
    CHECK(bench.run(trainer, last).captures == 1);
  }
}

TEST_CASE("trainer: what takes another's place in memory is not taken for it") {
  Bench bench;
  Trainer trainer(bench.model);
  const auto expect_capture = [&](Job job) {
    const Bench::Outcome outcome = bench.run(trainer, job);
    CHECK(outcome.captures == 1);
    CHECK(outcome.state == bench.alone(job));
    return outcome.state;
  };
  Job job = bench.plain(ids_from(0, 16));
  Draw& draw = job.objective.draws[0];

  SUBCASE("a sample set") {
    std::optional<ImageSet> place(random_images(bench.device, 21));
    const ImageSet keeps_its_memory = *place;
    draw.samples = &*place;
    const Bytes first = expect_capture(job);
    place.emplace(random_images(bench.device, 22));
    REQUIRE(draw.samples == &*place);
    const Bytes second = expect_capture(job);
    CHECK(first != second);
    *place = random_images(bench.device, 23);
    CHECK(expect_capture(job) != second);
  }
  SUBCASE("a teacher") {
    std::optional<ModelState> place;
    place.emplace(bench.device, bench.architecture).initialize({.seed = 4});
    draw.losses = {.cross_entropy = 0, .distillation = 1, .teacher = &*place, .temperature = 1};
    const Bytes first = expect_capture(job);
    place.reset();
    const ModelState in_its_memory(bench.device, bench.architecture);
    place.emplace(bench.device, bench.architecture).initialize({.seed = 6});
    REQUIRE(draw.losses.teacher == &*place);
    CHECK(expect_capture(job) != first);
  }
  SUBCASE("features") {
    const DeviceArray<std::uint8_t> mask = head_mask(bench.model);
    job.objective.its_mask = mask.data();
    job.job.recipe.augment = false;
    Observer silent;
    std::unique_ptr<FeatureSet> features;
    Bytes before;
    for (ModelState* model : {&bench.teacher, &bench.other_teacher, &bench.teacher}) {
      features.reset();
      features = std::make_unique<FeatureSet>(*model, bench.images, ids_from(0, 20), silent);
      draw.samples = features.get();
      const Bytes now = expect_capture(job);
      CHECK(now != before);
      before = now;
    }
  }
}

TEST_CASE("trainer: jobs that are interrupted, diverge or break leave it as good as new") {
  Bench bench;
  Trainer trainer(bench.model);
  Job job = bench.plain(ids_from(0, 19));  // 8, 8, 3, twice
  const Bytes expected = bench.alone(job);
  Observer silent;

  SUBCASE("interrupted before any step, and resumed by it or by another") {
    const TemporaryFolder folder;
    Job saved = job;
    saved.job.state_file = folder / "state.safetensors";
    for (int stop = 0; stop < 6; ++stop) {
      for (const bool by_another : {false, true}) {
        CAPTURE(stop);
        CAPTURE(by_another);
        std::filesystem::remove(saved.job.state_file);
        StopAt stopper(stop);
        bench.model.initialize({.seed = 1});
        CHECK_THROWS_AS(trainer.run(saved.objective, saved.job, stopper), Interrupted);
        if (by_another) {
          CHECK(bench.alone(saved) == expected);
        } else {
          Job between = bench.plain(ids_from(3, 30));
          if (stop % 2 == 1) bench.run(trainer, between);
          CHECK(bench.run(trainer, saved).state == expected);
        }
        CHECK(bench.run(trainer, job).state == expected);
      }
    }
  }
  SUBCASE("diverged") {
    Job wild = job;
    wild.job.recipe.lr = 1e30;
    for (int i = 0; i < 2; ++i) {
      CHECK_THROWS_AS(bench.run(trainer, wild), Diverged);
      CHECK(bench.run(trainer, job).state == expected);
    }
  }
  SUBCASE("refused") {
    Job wrong = job;
    wrong.job.recipe.lr = -1;
    CHECK_THROWS_AS(bench.run(trainer, wrong), UsageError);
    CHECK(bench.run(trainer, job).state == expected);
    wrong = job;
    wrong.objective.draws[0].ids.clear();
    CHECK_THROWS_AS(bench.run(trainer, wrong), std::invalid_argument);
    CHECK(bench.run(trainer, job).state == expected);
  }
  SUBCASE("without memory, in a step or while it is captured") {
    struct Scarce : ImageSet {
      explicit Scarce(const ImageSet& images) : ImageSet(images) {}
      Batch gather(const kernels::StepControl* control, int count,
                   const std::optional<kernels::Augmentation>& augmentation) const override {
        if (left-- == 0) throw std::bad_alloc();
        return ImageSet::gather(control, count, augmentation);
      }
      mutable int left = -1;
    };
    const Scarce images(bench.images);
    job.objective.draws[0].samples = &images;
    for (const int at : {0, 1, 2, 3}) {
      CAPTURE(at);
      Trainer other(bench.model);
      images.left = at;
      if (bench.device.waits_for_results()) {
        CHECK_THROWS_WITH_AS(bench.run(other, job), doctest::Contains("GPU memory"), Error);
      } else {
        CHECK_THROWS_AS(bench.run(other, job), std::bad_alloc);
      }
      const Bench::Outcome outcome = bench.run(other, job);
      CHECK(outcome.state == expected);
      // Full batches and last ones; on the CPU a step that breaks as it is replayed first has been captured.
      const bool whole_is_captured = at > 1 || (at == 1 && !bench.device.waits_for_results());
      CHECK(outcome.captures == (whole_is_captured ? 1 : 2));
      CHECK(bench.run(other, job).captures == 0);
    }
  }
}

}  // namespace
}  // namespace nepenthe::tests
