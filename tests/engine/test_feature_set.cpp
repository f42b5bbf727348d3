// Pictures at a network's size, and features of a frozen backbone.
#include "engine/feature_set.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "device.h"
#include "engine/base/error.h"
#include "engine/prediction.h"
#include "engine/training.h"
#include "golden.h"
#include "models/registry.h"
#include "small_network.h"

namespace nepenthe::tests {
namespace {

using Ids = std::vector<std::int32_t>;

constexpr int side = 8;
constexpr Normalization normalization{.mean = {0.5f, 0.4f, 0.6f}, .std = {0.25f, 0.3f, 0.2f}};

std::vector<std::uint8_t> random_pixels(int count) {
  std::vector<std::uint8_t> pixels(std::size_t(count) * 3 * side * side);
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = static_cast<std::uint8_t>(random_bits({.seed = 11}, static_cast<std::uint32_t>(i)).x >> 24);
  }
  return pixels;
}

ImageSet random_images(Device& device, int count, int image_size = side) {
  return ImageSet(device, random_pixels(count), random_labels(count, 5, 12), {normalization, image_size}, side);
}

/// Every pixel of planar pictures `scale` times in both directions.
std::vector<std::uint8_t> enlarged(const std::vector<std::uint8_t>& pixels, int scale) {
  const std::size_t planes = pixels.size() / (side * side), large = std::size_t(side) * scale;
  std::vector<std::uint8_t> out(planes * large * large);
  for (std::size_t plane = 0; plane < planes; ++plane) {
    for (std::size_t r = 0; r < large; ++r) {
      for (std::size_t s = 0; s < large; ++s) {
        out[(plane * large + r) * large + s] =
            pixels[(plane * side + r / std::size_t(scale)) * side + s / std::size_t(scale)];
      }
    }
  }
  return out;
}

Ids all_ids(int count) {
  Ids ids(static_cast<std::size_t>(count));
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

/// What a set gives these ids.
std::vector<float> rows(Device& device, const SampleSet& set, const Ids& ids) {
  const DeviceArray<std::int32_t> order(device, ids);
  const DeviceArray<kernels::StepControl> control(device, std::vector<kernels::StepControl>{{.order = order.data()}});
  const Tensor inputs = set.gather(control.data(), static_cast<int>(ids.size()), std::nullopt).inputs;
  return device.download(inputs.data(), inputs.shape().size());
}

TrainingJob head_job() {
  return {.recipe = {.epochs = 3, .batch = 8, .lr = 0.05, .augment = false}, .stream = {.seed = 5}, .what = "a head"};
}

TEST_CASE("image set: a network sees each pixel as often as its size says") {
  Device device(test_device());
  ModelState model(device, std::make_shared<SmallNetwork>());
  model.initialize({.seed = 1});
  Observer observer;
  const ImageSet enlarging = random_images(device, 9, 3 * side);
  const ImageSet large(device, enlarged(random_pixels(9), 3), random_labels(9, 5, 12), {normalization, 3 * side},
                       3 * side);
  CHECK(enlarging.image_size() == 3 * side);
  CHECK(predict(model, enlarging, all_ids(9), 4, "", observer).logits ==
        predict(model, large, all_ids(9), 4, "", observer).logits);
  for (const int wrong : {0, 4, 12}) CHECK_THROWS_AS(random_images(device, 2, wrong), std::invalid_argument);
}

TEST_CASE("feature set: the backbone's features, with the same bits in any company") {
  Device device(test_device());
  ModelState model(device, std::make_shared<SmallNetwork>());
  model.initialize({.seed = 1});
  Observer observer;
  const ImageSet images = random_images(device, 150);
  const FeatureSet all(model, images, all_ids(150), observer);
  const FeatureSet some(model, images, {149, 3, 70}, observer);
  Ids backwards = all_ids(150);
  std::ranges::reverse(backwards);
  const FeatureSet reversed(model, images, backwards, observer);
  const Ids asked{3, 70, 149};
  CHECK(rows(device, some, asked) == rows(device, all, asked));
  CHECK(rows(device, reversed, all_ids(150)) == rows(device, all, all_ids(150)));

  // Its logits are the network's.
  const auto by_features = predict(model, all, all_ids(150), 32, "", observer);
  const auto by_pictures = predict(model, images, all_ids(150), 32, "", observer);
  CHECK(relative_error(by_features.logits, widened(by_pictures.logits)) <= 1e-5);
  CHECK(by_features.ranks == by_pictures.ranks);
}

TEST_CASE("feature set: of a ResNet too, whatever the place in the batch" *
          doctest::skip(test_device().kind != "cpu")) {
  Device device(test_device(2));
  ModelState model(device, make_architecture("resnet20", 5));
  model.initialize({.seed = 1});
  Observer observer;
  const ImageSet images = random_images(device, 80, 2 * side);
  const FeatureSet all(model, images, all_ids(80), observer);
  Ids shuffled;
  for (int i = 0; i < 67; ++i) shuffled.push_back(i * 37 % 80);
  const FeatureSet some(model, images, shuffled, observer);
  CHECK(rows(device, some, shuffled) == rows(device, all, shuffled));
}

TEST_CASE("feature set: a head is trained, the backbone keeps every bit") {
  Device device(test_device());
  ModelState model(device, std::make_shared<SmallNetwork>());
  model.initialize({.seed = 1});
  const StateDict before = model.state_dict();
  Observer observer;
  const ImageSet images = random_images(device, 40);
  const FeatureSet features(model, images, all_ids(30), observer);
  const DeviceArray<std::uint8_t> mask = head_mask(model);
  CrossEntropy objective(features, all_ids(30), 8, mask.data());
  const double loss_before = predict(model, features, all_ids(30), 8, "", observer).losses[0];
  Trainer(model).run(objective, head_job(), observer);
  CHECK(predict(model, features, all_ids(30), 8, "", observer).losses[0] != loss_before);
  const StateDict after = model.state_dict();
  for (const auto& [name, tensor] : before.entries) {
    CAPTURE(name);
    CHECK((after.find(name)->bytes == tensor.bytes) == !name.starts_with("fc."));
  }

  SUBCASE("one that has no features is never taken for one that has") {
    CrossEntropy beyond(features, all_ids(31), 8, mask.data());
    CHECK_THROWS_AS(Trainer(model).run(beyond, head_job(), observer), Diverged);
  }
  SUBCASE("features are not augmented") {
    TrainingJob job = head_job();
    job.recipe.augment = true;
    CHECK_THROWS_AS(Trainer(model).run(objective, job, observer), std::invalid_argument);
  }
  SUBCASE("asked to stop, it stops") {
    struct Stop : Observer {
      bool stop_requested() override { return true; }
    } stop;
    CHECK_THROWS_AS(FeatureSet(model, images, all_ids(40), stop), Interrupted);
  }
  SUBCASE("weights that overflow are told, with the record") {
    StateDict state = model.state_dict();
    for (auto& [name, tensor] : state.entries) {
      if (name != "bn.weight") continue;
      tensor = HostTensor::from(tensor.shape, std::vector<float>(16, 3e38f));
    }
    model.load_state_dict(state);
    CHECK_THROWS_WITH_AS(FeatureSet(model, images, {7}, observer), doctest::Contains("record 7"), Error);
  }
}

}  // namespace
}  // namespace nepenthe::tests
