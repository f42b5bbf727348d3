// Training and evaluation as captured steps: the bits of eager mode, in every precision the device has, and losses that
// follow the CPU's.
#include "engine/captured_steps.h"

#include <algorithm>
#include <numeric>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/formats/safetensors.h"
#include "engine/image_set.h"
#include "engine/prediction.h"
#include "engine/step_profile.h"
#include "engine/training.h"
#include "golden.h"
#include "models/registry.h"

namespace nepenthe::tests {
namespace {

/// Pictures of 5 classes whose colours tell them apart, so that losses fall.
ImageSet coloured_images(Device& device, int count) {
  const int side = test_side();
  const auto plane = static_cast<std::size_t>(side) * static_cast<std::size_t>(side);
  std::vector<std::uint8_t> pixels(std::size_t(count) * 3 * plane);
  const std::vector<std::int32_t> labels = random_labels(count, 5, 12);
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    const auto noise = random_bits({.seed = 11}, static_cast<std::uint32_t>(i)).x >> 25;
    const std::size_t sample = i / (3 * plane), channel = i / plane % 3;
    pixels[i] = static_cast<std::uint8_t>(noise + 30 * ((static_cast<std::size_t>(labels[sample]) + channel) % 5));
  }
  return ImageSet(device, pixels, labels, {{.mean = {0.5f, 0.4f, 0.6f}, .std = {0.25f, 0.3f, 0.2f}}, side}, side);
}

struct LossLog : Observer {
  std::vector<double> running;
  void progress(const Progress& p) override { running.push_back(p.loss); }
  bool every_step() override { return true; }
};

struct Outcome {
  std::vector<std::byte> state;
  std::vector<float> logits;
  std::vector<double> losses;  // running means, after every step
  std::size_t launches;
};

Outcome train_and_predict(DeviceSettings settings) {
  constexpr int samples = 44;  // batches of 16, 16, 12: two kinds of steps, each eager, captured and replayed
  Device device(settings);
  const ImageSet images = coloured_images(device, samples);
  const auto network = std::make_unique<ModelState>(device, make_architecture("resnet20", 5));
  network->initialize({.seed = 1, .purpose = purpose::initialization});
  std::vector<std::int32_t> ids(samples);
  std::iota(ids.begin(), ids.end(), 0);
  const TrainingJob job{.recipe = {.epochs = 3, .batch = 16, .lr = 0.02},
                        .stream = {.seed = 5},
                        .what = "training",
                        .state_file = {},
                        .identity = {}};
  LossLog losses;
  CrossEntropy objective(images, ids, job.recipe.batch);
  const TrainingResult result = Trainer(*network).run(objective, job, losses);
  Observer silent;
  return {.state = serialize_safetensors(network->state_dict()),
          .logits = predict(*network, images, ids, 12, "", silent).logits,
          .losses = losses.running,
          .launches = result.launches};
}

TEST_CASE("captured steps: the bits of eager mode, in every precision") {
  const bool cuda = test_device().kind != "cpu";
  std::vector<Precision> precisions{Precision::fp32, Precision::bf16};
  if (cuda) precisions.push_back(Precision::tf32);
  for (const Precision precision : precisions) {
    CAPTURE(std::string(name(precision)));
    DeviceSettings settings = test_device();
    settings.precision = precision;
    const Outcome captured = train_and_predict(settings);
    settings.eager = true;
    const Outcome eager = train_and_predict(settings);
    CHECK(captured.state == eager.state);
    CHECK(same_bits(captured.logits, eager.logits));
    CHECK((captured.launches > 0) == cuda);
    CHECK(eager.launches == 0);
  }
}

TEST_CASE("captured steps: a training's losses follow those of the CPU in fp32") {
  const Outcome cpu = train_and_predict({.kind = "cpu"});
  for (const auto& [precision, first, later] :
       {std::tuple{Precision::fp32, 1e-5, 0.02}, std::tuple{Precision::tf32, 1e-3, 0.05},
        std::tuple{Precision::bf16, 1e-2, 0.1}}) {
    CAPTURE(std::string(name(precision)));
    DeviceSettings settings = test_device();
    if (settings.kind == "cpu" && precision != Precision::bf16) continue;
    settings.precision = precision;
    const Outcome other = train_and_predict(settings);
    REQUIRE(other.losses.size() == cpu.losses.size());
    // Before the first step only rounding differs; ReLUs that flip by it make later ones drift apart.
    CHECK(std::abs(other.losses[0] - cpu.losses[0]) <= first * cpu.losses[0]);
    double worst = 0;
    for (std::size_t i = 0; i < cpu.losses.size(); ++i) {
      worst = std::max(worst, std::abs(other.losses[i] - cpu.losses[i]) / cpu.losses[i]);
    }
    CHECK(worst <= later);
    CHECK(other.losses.back() < other.losses[2]);
    MESSAGE(name(precision), " against the CPU's fp32: the first loss within ",
            std::abs(other.losses[0] / cpu.losses[0] - 1), ", all within ", worst);
  }
}

TEST_CASE("captured steps: a profile names every op of a step, as often as it is there") {
  Device device(test_device());
  const ImageSet images = coloured_images(device, 12);
  const auto network = std::make_unique<ModelState>(device, make_architecture("resnet20", 5));
  network->initialize({.seed = 1});
  const std::vector<std::int32_t> ids{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  Recipe recipe{.batch = 4, .lr = 0.02};
  const kernels::RangeTimes times = profile_training_step(*network, images, ids, recipe);
  CHECK(times.size() == 13);
  CHECK(times.at("conv2d_forward").count == 21);
  CHECK(times.at("conv2d_backward_data").count == 20);
  CHECK(times.at("batch_norm_backward").count == 21);
  CHECK(times.at("optimizer_step").count == 1);
  for (const auto& [op, time] : times) CHECK(time.milliseconds > 0);
  const kernels::RangeTimes evaluation = profile_evaluation(*network, images, ids, 6);
  if (device.waits_for_results()) {
    CHECK(evaluation.empty());
  } else {
    CHECK(evaluation.at("conv2d_forward").count == 2 * 21);
    CHECK(!evaluation.contains("conv2d_backward_data"));
  }
  recipe.batch = device.waits_for_results() ? 5 : 13;
  CHECK_THROWS_AS(profile_training_step(*network, images, ids, recipe), std::invalid_argument);
}

}  // namespace
}  // namespace nepenthe::tests
