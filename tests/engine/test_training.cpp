// The training loop: batches, memory, interruption and resumption, the same bits for any number of threads.
#include "engine/training.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/batches.h"
#include "engine/formats/content_digest.h"
#include "engine/formats/safetensors.h"
#include "engine/image_set.h"
#include "engine/prediction.h"
#include "golden.h"
#include "models/registry.h"
#include "shared_data.h"
#include "small_network.h"

namespace nepenthe::tests {
namespace {

using Ids = std::vector<std::int32_t>;
using Bytes = std::vector<std::byte>;

/// Random pictures of 5 classes.
ImageSet random_images(Device& device, int count, int side) {
  std::vector<std::uint8_t> pixels(std::size_t(count) * 3 * side * side);
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = static_cast<std::uint8_t>(random_bits({.seed = 11}, static_cast<std::uint32_t>(i)).x >> 24);
  }
  return ImageSet(device, pixels, random_labels(count, 5, 12),
                  {{.mean = {0.5f, 0.4f, 0.6f}, .std = {0.25f, 0.3f, 0.2f}}, side}, side);
}

Ids all_ids(int count) {
  Ids ids(static_cast<std::size_t>(count));
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

Bytes state_bytes(const ModelState& model) { return serialize_safetensors(model.state_dict()); }

/// Calls a function after every step; stops where told to.
struct Watcher : Observer {
  std::function<void(const Progress&)> on_progress = [](const Progress&) {};
  std::function<bool()> stop = [] { return false; };
  void progress(const Progress& p) override { on_progress(p); }
  bool stop_requested() override { return stop(); }
  bool every_step() override { return true; }
};

/// Stops in front of the step with this number, counted from 0 over the call.
struct StopAt : Observer {
  explicit StopAt(int its_step) : step(its_step) {}
  bool stop_requested() override { return step-- == 0; }
  int step;
};

TrainingJob small_job(int epochs = 3) {
  return {.recipe = {.epochs = epochs, .batch = 8, .lr = 0.05},
          .stream = {.seed = 5, .shard = 1, .stage = 2},
          .what = "shard 1, stage 2",
          .state_file = {},
          .identity = "this job"};
}

/// Plain training on all of the pictures.
TrainingResult train_on(ModelState& model, const ImageSet& images, const TrainingJob& job, Observer& observer) {
  CrossEntropy objective(images, all_ids(images.count()), job.recipe.batch);
  return Trainer(model).run(objective, job, observer);
}

/// Of a new process: no weights yet.
std::unique_ptr<ModelState> unset(Device& device) {
  return std::make_unique<ModelState>(device, std::make_shared<SmallNetwork>());
}

/// A small network with the weights that every run here starts from.
std::unique_ptr<ModelState> fresh(Device& device) {
  auto network = unset(device);
  network->initialize({.seed = 1, .purpose = purpose::initialization});
  return network;
}

TEST_CASE("training: sizes of batches; a last batch of one joins the one before") {
  using Sizes = std::vector<int>;
  CHECK(batch_sizes(0, 8).empty());
  CHECK(batch_sizes(1, 8) == Sizes{1});
  CHECK(batch_sizes(8, 8) == Sizes{8});
  CHECK(batch_sizes(9, 8) == Sizes{9});
  CHECK(batch_sizes(10, 8) == Sizes{8, 2});
  CHECK(batch_sizes(16, 8) == Sizes{8, 8});
  CHECK(batch_sizes(17, 8) == Sizes{8, 9});
  CHECK(batch_sizes(2, 1) == Sizes{2});
  CHECK(batch_sizes(3, 1) == Sizes{1, 2});
  for (int samples = 1; samples < 60; ++samples) {
    for (int batch = 1; batch < 20; ++batch) {
      const Sizes sizes = batch_sizes(samples, batch);
      CHECK(std::accumulate(sizes.begin(), sizes.end(), 0) == samples);
    }
  }
}

TEST_CASE("training: leaving samples out moves no other in the order of an epoch") {
  const RandomStream stream{.seed = 3, .purpose = purpose::order, .shard = 1, .stage = 1, .epoch = 4};
  const Ids whole = keyed_order(stream, all_ids(200));
  CHECK_FALSE(std::ranges::is_sorted(whole));
  Ids sorted = whole;
  std::ranges::sort(sorted);
  CHECK(sorted == all_ids(200));
  const auto kept = [](std::int32_t id) { return id % 7 != 3 && id != 0; };
  Ids ids, expected;
  std::ranges::copy_if(all_ids(200), std::back_inserter(ids), kept);
  std::ranges::copy_if(whole, std::back_inserter(expected), kept);
  CHECK(keyed_order(stream, ids) == expected);
  std::ranges::reverse(ids);  // nor does the order in which they come
  CHECK(keyed_order(stream, ids) == expected);
  for (auto other : {&RandomStream::epoch, &RandomStream::shard, &RandomStream::stage}) {
    auto changed = stream;
    changed.*other += 1;
    CHECK(keyed_order(changed, all_ids(200)) != whole);
  }
}

TEST_CASE("training: progress, sample passes and mean loss; the loss falls") {
  Device device(test_device());
  const ImageSet images = random_images(device, 26, 8);
  const auto network = fresh(device);
  std::vector<Observer::Progress> seen;
  Watcher watcher;
  watcher.on_progress = [&](const auto& p) { seen.push_back(p); };
  auto job = small_job(30);
  job.recipe.augment = false;
  const TrainingResult result = train_on(*network, images, job, watcher);
  REQUIRE(seen.size() == 30 * 4);
  CHECK(result.sample_passes == 30 * 26);
  CHECK(result.loss == seen.back().loss);
  CHECK(seen.back().samples == 30 * 26);
  CHECK(seen[5].epoch == 1);
  CHECK(seen[5].epochs == 30);
  CHECK(seen[5].samples == 26 + 16);
  CHECK(seen[5].samples_total == 30 * 26);
  CHECK(seen.back().loss < 0.5 * seen[3].loss);
  CHECK(seen.back().accuracy > seen[3].accuracy);
  CHECK(seen.back().accuracy <= 1);
}

TEST_CASE("training: a step takes no memory after the first") {
  Device device(test_device());
  for (const int samples : {70, 65}) {  // batches of 32, 32, 6 and 32, 33
    const ImageSet images = random_images(device, samples, test_side());
    const auto network = std::make_unique<ModelState>(device, make_architecture("resnet20", 5));
    network->initialize({.seed = 1});
    auto job = small_job();
    job.recipe.batch = 32;
    struct Memory {
      std::size_t reserved, used, peak;
      int chunks;
    };
    std::vector<Memory> after;
    Watcher watcher;
    watcher.on_progress = [&](const auto&) {
      const Arena& arena = device.step_arena();
      after.push_back({arena.reserved_bytes(), arena.used_bytes(), arena.peak_bytes(), arena.chunk_count()});
    };
    const std::size_t used_before = device.arena().used_bytes();
    train_on(*network, images, job, watcher);
    CHECK(device.arena().used_bytes() == used_before);
    const std::size_t steps = samples == 70 ? 3 : 2, largest = samples == 70 ? 0 : 1;
    REQUIRE(after.size() == 3 * steps);
    for (std::size_t i = 0; i < after.size(); ++i) {
      CAPTURE(i);
      CHECK(after[i].used == after[i % steps].used);  // nothing stays behind
      if (i >= largest) {
        CHECK(after[i].reserved == after[largest].reserved);
        CHECK(after[i].chunks == after[largest].chunks);
        CHECK(after[i].peak == after[largest].peak);
      }
    }
  }
}

TEST_CASE("training: a loss that is not finite ends it, naming epoch and step") {
  Device device(test_device());
  const ImageSet images = random_images(device, 20, 8);
  Observer silent;
  const auto network = fresh(device);
  auto job = small_job(2);
  job.recipe.lr = 1e30;
  NEPENTHE_CHECK_MESSAGE(Error, train_on(*network, images, job, silent),
                         "shard 1, stage 2: the loss is nan in epoch 1 of 2, step 2 of 3");

  const auto poisoned_network = fresh(device);
  const float nan = std::nanf("");
  device.upload(poisoned_network->value(5), &nan, 1);  // fc.weight
  const auto weights = device.download(poisoned_network->values(), 400);
  NEPENTHE_CHECK_MESSAGE(Error, train_on(*poisoned_network, images, small_job(), silent), "epoch 1 of 3, step 1 of 3");
  CHECK(same_bits(weights, device.download(poisoned_network->values(), 400)));  // no step was made

  const auto refused = fresh(device);
  job.recipe.lr = -1;
  CHECK_THROWS_AS(train_on(*refused, images, job, silent), UsageError);
}

TEST_CASE("training: a state that is saved is finite, though no loss has told of the last step") {
  Device device(test_device());
  const ImageSet images = random_images(device, 20, 8);
  const TemporaryFolder folder;
  auto job = small_job(2);
  job.recipe.lr = 1e39;  // infinite in fp32
  job.state_file = folder / "state.safetensors";
  StopAt after_one(1);
  NEPENTHE_CHECK_MESSAGE(Diverged, train_on(*fresh(device), images, job, after_one), "weights that are not finite");
  CHECK_FALSE(std::filesystem::exists(job.state_file));
}

/// The run that is never interrupted.
Bytes uninterrupted(Device& device, const ImageSet& images, TrainingJob job) {
  const auto network = fresh(device);
  Observer silent;
  job.state_file.clear();
  train_on(*network, images, job, silent);
  return state_bytes(*network);
}

TEST_CASE("training: interrupted before any step and resumed, the bits are those of a run in one go") {
  Device device(test_device());
  const ImageSet images = random_images(device, 19, 8);
  const TemporaryFolder folder;
  for (const OptimizerKind kind : {OptimizerKind::sgd, OptimizerKind::adam}) {
    auto job = small_job();  // 3 epochs of 8, 8, 3
    job.recipe.optimizer = kind;
    job.recipe.lr = 0.01;
    job.recipe.fc_lr = 0.03;
    const Bytes expected = uninterrupted(device, images, job);
    job.state_file = folder / "state.safetensors";
    for (int stop = 0; stop < 9; ++stop) {
      CAPTURE(stop);
      std::filesystem::remove(job.state_file);
      const auto first = fresh(device);
      StopAt stopper(stop);
      std::int64_t before = 0;
      const std::string message = message_of<Interrupted>([&] { train_on(*first, images, job, stopper); });
      CHECK(message.find("epoch " + std::to_string(stop / 3 + 1) + " of 3") != std::string::npos);
      CHECK(message.find("step " + std::to_string(stop % 3 + 1) + " of 3") != std::string::npos);
      for (int i = 0; i < stop; ++i) before += i % 3 == 2 ? 3 : 8;

      const auto second = unset(device);
      std::vector<Observer::Progress> seen;
      Watcher watcher;
      watcher.on_progress = [&](const auto& p) { seen.push_back(p); };
      const TrainingResult result = train_on(*second, images, job, watcher);
      CHECK(result.sample_passes == 3 * 19 - before);
      CHECK(seen.size() == std::size_t(9 - stop));
      CHECK(seen.front().samples == before + (stop % 3 == 2 ? 3 : 8));
      CHECK(seen.back().samples == 3 * 19);
      CHECK(state_bytes(*second) == expected);
    }

    // Stopped after every single step.
    std::filesystem::remove(job.state_file);
    auto network = fresh(device);
    std::int64_t passes = 0;
    int interruptions = 0;
    for (bool done = false; !done;) {
      StopAt stopper(1);
      try {
        passes += train_on(*network, images, job, stopper).sample_passes;
        done = true;
      } catch (const Interrupted&) {
        ++interruptions;
        REQUIRE(interruptions <= 9);
        network = unset(device);
      }
    }
    CHECK(interruptions == 8);
    CHECK(passes == 3);  // the last step alone was this call's
    CHECK(state_bytes(*network) == expected);
  }
}

TEST_CASE("training: a crash costs at most the epoch it was in, where the last state is older than it may get") {
  Device device(test_device());
  const ImageSet images = random_images(device, 19, 8);
  const TemporaryFolder folder;
  auto job = small_job();
  const Bytes expected = uninterrupted(device, images, job);
  job.state_file = folder / "state.safetensors";
  struct Crash {};
  for (const auto& [at, saves] : {std::pair{0, true}, {2, true}, {3, true}, {4, true}, {8, true}, {8, false}}) {
    CAPTURE(at);
    CAPTURE(saves);
    job.save_every = saves ? std::chrono::milliseconds(0) : std::chrono::hours(1);
    std::filesystem::remove(job.state_file);
    Watcher crashing;
    crashing.on_progress = [at = at, step = 0](const auto&) mutable {
      if (step++ == at) throw Crash();
    };
    const auto first = fresh(device);
    CHECK_THROWS_AS(train_on(*first, images, job, crashing), Crash);
    CHECK(std::filesystem::exists(job.state_file) == (saves && at >= 3));
    const auto second = fresh(device);
    Observer silent;
    CHECK(train_on(*second, images, job, silent).sample_passes == 19 * (3 - (saves ? at / 3 : 0)));
    CHECK(state_bytes(*second) == expected);
  }
}

TEST_CASE("training: an epoch's end that is interrupted comes again, and no step is made twice") {
  struct Halting : CrossEntropy {
    using CrossEntropy::CrossEntropy;
    void epoch_ended(int epoch, ModelState&) override {
      ended.push_back(epoch);
      if (epoch == halt_at) throw Interrupted("in the evaluation");
    }
    int halt_at = -1;
    std::vector<int> ended;
  };
  Device device(test_device());
  const ImageSet images = random_images(device, 19, 8);
  const TemporaryFolder folder;
  Observer silent;
  auto job = small_job();
  const Bytes expected = uninterrupted(device, images, job);
  job.state_file = folder / "state.safetensors";
  for (const int halt : {0, 1, 2}) {
    CAPTURE(halt);
    std::filesystem::remove(job.state_file);
    Halting objective(images, all_ids(19), job.recipe.batch);
    objective.halt_at = halt;
    CHECK_THROWS_AS(Trainer(*fresh(device)).run(objective, job, silent), Interrupted);
    objective.halt_at = -1;
    const auto second = unset(device);
    CHECK(Trainer(*second).run(objective, job, silent).sample_passes == 19 * (2 - halt));
    CHECK(state_bytes(*second) == expected);
    std::vector<int> told{0, 1, 2};
    told.insert(told.begin() + halt, halt);
    CHECK(objective.ended == told);
  }
}

TEST_CASE("training: the state of another job is not continued, and a damaged one is an error") {
  Device device(test_device());
  const ImageSet images = random_images(device, 19, 8);
  const TemporaryFolder folder;
  Observer silent;
  auto job = small_job();
  job.state_file = folder / "state.safetensors";
  StopAt stopper(4);
  CHECK_THROWS_AS(train_on(*fresh(device), images, job, stopper), Interrupted);
  const auto state = read_file(job.state_file);

  auto other = job;
  other.identity = "another job";
  other.stream.seed = 6;
  auto network = fresh(device);
  CHECK(train_on(*network, images, other, silent).sample_passes == 3 * 19);
  CHECK(state_bytes(*network) == uninterrupted(device, images, other));

  // The job's own state, but cut short, of another network, or of another optimiser.
  write_file_atomically(job.state_file, std::span(state).first(state.size() - 5));
  NEPENTHE_CHECK_MESSAGE(Error, train_on(*fresh(device), images, job, silent), "state.safetensors");
  write_file_atomically(job.state_file, state);
  const auto larger = std::make_unique<ModelState>(device, make_architecture("resnet20", 5));
  larger->initialize({.seed = 1});
  NEPENTHE_CHECK_MESSAGE(Error, train_on(*larger, images, job, silent), "state.safetensors");
  auto adam = job;
  adam.recipe.optimizer = OptimizerKind::adam;
  NEPENTHE_CHECK_MESSAGE(Error, train_on(*fresh(device), images, adam, silent), "state.safetensors");
  for (const std::array<std::int64_t, 2> position :
       {std::array<std::int64_t, 2>{-1, 0}, {3, 0}, {0, -1}, {1, 4}, {std::int64_t{1} << 32, 0}}) {
    StateDict moved = parse_safetensors(state, "");
    std::ranges::find(moved.entries, "position", [](const auto& entry) { return entry.first; })->second =
        HostTensor::from({2}, position);
    write_with_digest(job.state_file, moved);
    NEPENTHE_CHECK_MESSAGE(Error, train_on(*fresh(device), images, job, silent), "state.safetensors");
  }
  write_file_atomically(job.state_file, state);
  for (const std::size_t at : {std::size_t{100}, state.size() / 2, state.size() - 1}) {
    auto flipped = state;
    flipped[at] ^= std::byte{4};
    write_file_atomically(job.state_file, flipped);
    NEPENTHE_CHECK_MESSAGE(Error, train_on(*fresh(device), images, job, silent), "state.safetensors");
  }
  write_file_atomically(job.state_file, state);
  // Intact, it is continued.
  network = fresh(device);
  CHECK(train_on(*network, images, job, silent).sample_passes == 8 + 3 + 19);
  CHECK(state_bytes(*network) == uninterrupted(device, images, job));
}

TEST_CASE("training: resnet20 has the same bits with 1, 2 and 3 threads and every time, others with another seed") {
  const auto run = [](int threads, std::uint64_t seed) {
    Device device(test_device(threads));
    const ImageSet images = random_images(device, 70, test_side());  // batches of 32, 32 and 6
    const auto network = std::make_unique<ModelState>(device, make_architecture("resnet20", 5));
    network->initialize({.seed = 1, .purpose = purpose::initialization});
    TrainingJob job = small_job(2);
    job.recipe.batch = 32;
    job.stream.seed = seed;
    Observer silent;
    train_on(*network, images, job, silent);
    const Predictions predictions = predict(*network, images, all_ids(70), 32, "", silent);
    Bytes bytes = state_bytes(*network);
    const auto logits = std::as_bytes(std::span(predictions.logits));
    bytes.insert(bytes.end(), logits.begin(), logits.end());
    return bytes;
  };
  const Bytes one = run(1, 5);
  CHECK(run(1, 5) == one);
  if (test_device().kind == "cpu") {
    CHECK(run(2, 5) == one);
    CHECK(run(3, 5) == one);
  }
  CHECK(run(2, 6) != one);
}

TEST_CASE("training: predictions come in the order of the ids, whatever the batches") {
  Device device(test_device());
  const ImageSet images = random_images(device, 21, 8);
  const auto network = fresh(device);
  Observer silent;
  train_on(*network, images, small_job(), silent);
  const Bytes before = state_bytes(*network);
  const Ids ids = all_ids(21);
  const Predictions whole = predict(*network, images, ids, 21, "", silent);
  CHECK(whole.classes == 5);
  REQUIRE(whole.logits.size() == 21 * 5);
  const auto labels = random_labels(21, 5, 12);
  for (std::size_t i = 0; i < 21; ++i) {
    const float* row = whole.logits.data() + i * 5;
    const auto label = static_cast<std::size_t>(labels[i]);
    double sum = 0;
    int better = 0;
    for (std::size_t c = 0; c < 5; ++c) {
      sum += std::exp(double{row[c]} - row[label]);
      better += row[c] > row[label];
    }
    CHECK(whole.losses[i] == doctest::Approx(std::log(sum)).epsilon(1e-5));
    CHECK(whole.ranks[i] == better);
  }
  Ids shuffled = ids;
  std::ranges::reverse(shuffled);
  shuffled.push_back(4);  // twice
  std::vector<Observer::Progress> seen;
  Watcher watcher;
  watcher.on_progress = [&](const auto& p) { seen.push_back(p); };
  const Predictions parts = predict(*network, images, shuffled, 5, "", watcher);
  for (std::size_t i = 0; i < shuffled.size(); ++i) {
    const auto id = static_cast<std::size_t>(shuffled[i]);
    CHECK(parts.ranks[i] == whole.ranks[id]);
    CHECK(parts.losses[i] == doctest::Approx(whole.losses[id]).epsilon(1e-5));
    for (std::size_t c = 0; c < 5; ++c) {
      CHECK(parts.logits[i * 5 + c] == doctest::Approx(whole.logits[id * 5 + c]).epsilon(1e-4));
    }
  }
  REQUIRE(seen.size() == 5);
  CHECK(seen[1].samples == 10);
  CHECK(seen.back().samples == 22);
  CHECK(seen.back().samples_total == 22);
  const double right = static_cast<double>(std::ranges::count(parts.ranks, 0)) / 22;
  CHECK(seen.back().accuracy == doctest::Approx(right));
  CHECK(state_bytes(*network) == before);
  CHECK(predict(*network, images, {}, 5, "", silent).logits.empty());
  const auto overflowing = fresh(device);
  const std::vector<float> large(overflowing->layout().parameter_floats(), 1e38F);
  device.upload(overflowing->values(), large.data(), large.size());
  NEPENTHE_CHECK_MESSAGE(Error, predict(*overflowing, images, {3, 4}, 2, "this network", silent),
                         "this network: the loss of record");
  StopAt stopper(2);
  CHECK_THROWS_AS(predict(*network, images, ids, 5, "", stopper), Interrupted);
}

}  // namespace
}  // namespace nepenthe::tests
