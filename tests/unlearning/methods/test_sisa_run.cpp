// A SISA run end to end on a small drawn data set: what it writes, and that forgetting is exact to the bit.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "data/synthetic.h"
#include "device.h"
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/random.h"
#include "engine/conv_algorithms_file.h"
#include "engine/formats/safetensors.h"
#include "models/registry.h"
#include "unlearning/evaluation.h"
#include "unlearning/forget_spec.h"
#include "unlearning/methods/sisa_run.h"
#include "unlearning/study/run_scores.h"

using namespace nepenthe;
using nepenthe::tests::test_device;
namespace fs = std::filesystem;

namespace {

struct TemporaryFolder {
  fs::path path = fs::temp_directory_path() / ("nepenthe-test-" + std::to_string(getpid()));
  TemporaryFolder() {
    fs::remove_all(path);
    fs::create_directories(path);
  }
  ~TemporaryFolder() { fs::remove_all(path); }
};

/// 96 pictures, two shards of 48, slices of 16.
struct World {
  TemporaryFolder folder;
  Dataset dataset;
  TrainingConfig config{.model = "resnet20", .shards = 2, .epochs = {2, 1, 2}, .recipe = {.batch = 16}, .seed = 3};
  std::vector<std::int32_t> permutation;

  World() {
    write_synthetic(folder.path / "data", 96, 20, 4, 1);
    dataset = read_dataset(folder.path / "data");
    permutation = make_permutation(96, config.seed);
  }
  SisaRun create(const std::string& name, Device& device, const std::vector<std::int32_t>& excluded = {}) const {
    return SisaRun::create(folder.path / name, config, dataset, excluded, {}, device);
  }
  std::vector<std::int32_t> positions(int begin, int end) const {
    std::vector<std::int32_t> ids(permutation.begin() + begin, permutation.begin() + end);
    std::ranges::sort(ids);
    return ids;
  }
};

World& world() {
  static World one;
  return one;
}

/// Digests of every checkpoint of a run, by name; nothing else may lie beside them.
std::map<std::string, std::string> checkpoints(const fs::path& run) {
  std::map<std::string, std::string> digests;
  for (const auto& entry : fs::recursive_directory_iterator(run)) {
    if (entry.path().extension() == ".safetensors") {
      digests[fs::relative(entry.path(), run).string()] = sha256_file(entry.path());
    }
  }
  return digests;
}

std::vector<std::int32_t> united(std::vector<std::int32_t> a, const std::vector<std::int32_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  std::ranges::sort(a);
  a.erase(std::ranges::unique(a).begin(), a.end());
  return a;
}

/// Asks to stop once, before step `after` counted over all jobs.
struct StopAfter : Observer {
  explicit StopAfter(int after) : left(after) {}
  bool stop_requested() override { return left-- == 0; }
  int left;
};

}  // namespace

TEST_CASE("a run writes its checkpoints, and equal runs are byte-identical for any number of threads") {
  Observer observer;
  std::map<std::string, std::string> first;
  for (const int threads : {1, 2, 3}) {
    Device device(test_device(threads));
    SisaRun run = world().create("threads-" + std::to_string(threads), device);
    const SisaRun::Cost cost = run.complete(world().dataset, device, observer);
    CHECK(cost.sample_passes == 2 * (2 * 16 + 1 * 32 + 2 * 48));
    CHECK(run.work().sample_passes() == 0);
    const auto digests = checkpoints(run.folder());
    CHECK(digests.size() == 2 * 4);
    if (first.empty()) first = digests;
    CHECK(digests == first);
  }
  CHECK(first.at("shard-0/stage-3.safetensors") != first.at("shard-1/stage-3.safetensors"));
  CHECK(first.at("shard-0/stage-2.safetensors") != first.at("shard-0/stage-3.safetensors"));
}

TEST_CASE("unlearning gives the bytes of a run trained without the samples, also after a second request") {
  Device device(test_device(2));
  Observer observer;
  SisaRun run = world().create("unlearned", device);
  run.complete(world().dataset, device, observer);
  const auto before = checkpoints(run.folder());
  // On CUDA the run has recorded its engines.
  CHECK(fs::exists(run.folder() / "conv_algorithms.json") == device.waits_for_results());
  if (device.waits_for_results())
    CHECK(read_conv_algorithms(run.folder() / "conv_algorithms.json") == device.conv_algorithms());

  // The last slice of shard 0, the first of shard 1 and one sample of its second.
  const auto request = united(world().positions(32, 64), world().positions(70, 71));
  const SisaWork work = run.plan().request({}, request);
  run.forget(request, {{"forget", "test"}});
  CHECK_FALSE(fs::exists(run.checkpoint(0, 3)));
  CHECK(fs::exists(run.checkpoint(0, 2)));
  CHECK_FALSE(fs::exists(run.checkpoint(1, 1)));
  const SisaRun::Cost cost = run.complete(world().dataset, device, observer);
  CHECK(cost.sample_passes == work.sample_passes());
  CHECK(cost.sample_passes == 1 * 15 + 2 * 31);  // shard 0: skipped; shard 1: stage 1 skipped, 2 and 3 redone

  SisaRun retrained = world().create("retrained", device, request);
  retrained.complete(world().dataset, device, observer);
  CHECK(checkpoints(run.folder()) == checkpoints(retrained.folder()));
  CHECK(checkpoints(run.folder()) != before);
  // A skipped stage has its predecessor's tensors, and a checkpoint before the first forgotten sample is untouched.
  const StateDict cp2 = read_safetensors(run.checkpoint(0, 2)), cp3 = read_safetensors(run.checkpoint(0, 3));
  for (const auto& [name, tensor] : cp2.entries) CHECK(cp3.find(name)->bytes == tensor.bytes);
  CHECK(checkpoints(run.folder()).at("shard-0/stage-2.safetensors") == before.at("shard-0/stage-2.safetensors"));

  // Looking for what there is to do reads headers, no tensors.
  const auto read_so_far = [] {
    std::ifstream io("/proc/self/io");
    std::string key;
    std::int64_t bytes = 0;
    io >> key >> bytes;
    return bytes;
  };
  const std::int64_t bytes_before = read_so_far();
  (void)run.work(world().positions(0, 5));
  CHECK(read_so_far() - bytes_before < static_cast<std::int64_t>(fs::file_size(run.checkpoint(0, 0))) / 2);

  // A second request, on a run that is opened anew; part of it was forgotten before.
  SisaRun again = SisaRun::open(run.folder());
  CHECK(again.forgotten() == request);
  const auto second = united(world().positions(0, 5), world().positions(40, 50));
  again.forget(second, {{"forget", "test 2"}});
  again.complete(world().dataset, device, observer);
  SisaRun retrained_twice = world().create("retrained-twice", device, united(request, second));
  retrained_twice.complete(world().dataset, device, observer);
  CHECK(checkpoints(again.folder()) == checkpoints(retrained_twice.folder()));
  CHECK(again.forgotten() == retrained_twice.forgotten());

  // Forgetting what is forgotten costs nothing.
  again.forget(second, {{"forget", "test 2 again"}});
  CHECK(again.complete(world().dataset, device, observer).sample_passes == 0);

  std::ifstream manifest(run.folder() / "manifest.jsonl");
  std::vector<std::string> events;
  for (std::string line; std::getline(manifest, line);) events.push_back(nlohmann::json::parse(line).at("event"));
  CHECK(events == std::vector<std::string>{"created", "training", "completed", "forget", "training", "completed",
                                           "forget", "training", "completed", "forget", "completed"});
}

TEST_CASE("with a frozen backbone, at another size and normalisation, unlearning is as exact") {
  Device device(test_device(2));
  Observer observer;
  const fs::path weights = world().folder.path / "weights.safetensors";
  ModelState source(device, make_architecture("resnet20", 10));
  source.initialize({.seed = 9, .purpose = purpose::initialization});
  write_safetensors(weights, source.state_dict());
  TrainingConfig config = world().config;
  config.recipe.augment = false;
  config.transfer = {.image_size = 64, .normalization = NormalizationKind::imagenet, .freeze_backbone = true};
  const auto create = [&](const std::string& name, const std::vector<std::int32_t>& excluded) {
    return SisaRun::create(world().folder.path / name, config, world().dataset, excluded, weights, device);
  };
  SisaRun run = create("frozen", {});
  const SisaRun::Cost cost = run.complete(world().dataset, device, observer);
  CHECK(cost.feature_passes == 96);
  const auto request = united(world().positions(32, 64), world().positions(70, 71));
  run.forget(request, {{"forget", "test"}});
  StopAfter stop(1);
  CHECK_THROWS_AS(run.complete(world().dataset, device, stop), Interrupted);
  SisaRun reopened = SisaRun::open(run.folder());
  CHECK(reopened.complete(world().dataset, device, observer).feature_passes == 31);  // what is left of shard 1
  SisaRun retrained = create("frozen-retrained", request);
  retrained.complete(world().dataset, device, observer);
  CHECK(checkpoints(reopened.folder()) == checkpoints(retrained.folder()));

  const StateDict given = read_safetensors(weights), made = read_safetensors(reopened.checkpoint(1, 3));
  for (const auto& [name, tensor] : given.entries) {
    if (!name.starts_with("fc.")) CHECK(made.find(name)->bytes == tensor.bytes);
  }
  CHECK(made.find("fc.bias")->shape == std::vector<std::int64_t>{4});
  CHECK_THROWS_AS(reopened.change_recipe(reopened.work(), {.augment = true}), UsageError);
}

TEST_CASE("an interrupted run continues to the same bytes") {
  Device device(test_device(2));
  Observer observer;
  SisaRun whole = world().create("whole", device);
  whole.complete(world().dataset, device, observer);
  SisaRun run = world().create("interrupted", device);
  for (const int after : {0, 1, 3, 4, 7}) {
    StopAfter stop(after);
    CHECK_THROWS_AS(SisaRun::open(run.folder()).complete(world().dataset, device, stop), Interrupted);
  }
  SisaRun resumed = SisaRun::open(run.folder());
  resumed.complete(world().dataset, device, observer);
  CHECK(checkpoints(run.folder()) == checkpoints(whole.folder()));

  SUBCASE("a request that was interrupted is finished by completing the run") {
    const auto request = world().positions(60, 62);
    resumed.forget(request, {{"forget", "test"}});
    StopAfter stop(2);
    CHECK_THROWS_AS(resumed.complete(world().dataset, device, stop), Interrupted);
    SisaRun reopened = SisaRun::open(run.folder());
    const auto network_needed = [&] {
      const Evaluator evaluator(device, world().dataset, {world().dataset.normalization});
      return score_run(reopened, evaluator, evaluation_sets({"test"}, world().dataset, {}), observer);
    };
    CHECK_THROWS_WITH_AS(network_needed(), doctest::Contains("not finished"), Error);
    reopened.complete(world().dataset, device, observer);
    SisaRun without = world().create("without", device, request);
    without.complete(world().dataset, device, observer);
    CHECK(checkpoints(reopened.folder()) == checkpoints(without.folder()));
  }
}

TEST_CASE("unlearning gives the bytes of a retraining also where shards are trained side by side") {
  Observer observer;
  TrainingConfig config = world().config;
  config.shards = 4;  // of 24, slices of 8
  config.epochs = {1, 1};
  const auto create = [&](const std::string& name, Device& device, const std::vector<std::int32_t>& excluded) {
    return SisaRun::create(world().folder.path / name, config, world().dataset, excluded, {}, device);
  };
  const bool emulated = test_device().kind != "cpu";  // and slow
  std::map<std::string, std::string> one_after_another;
  for (const int parallel : emulated ? std::vector{1, 3} : std::vector{1, 2, 3, 4, 9}) {
    CAPTURE(parallel);
    Device device(test_device(2));
    SisaRun run = create(fmt::format("at-once-{}", parallel), device, {});
    const SisaRun::Cost cost = run.complete(world().dataset, device, observer, parallel);
    CHECK(cost.sample_passes == 4 * (12 + 24));
    CHECK(cost.train_seconds > 0);
    const auto made = checkpoints(run.folder());
    if (one_after_another.empty()) one_after_another = made;
    CHECK(made == one_after_another);
    CHECK(made.size() == 4 * 3);
    // The journal has one writer, and the engines of all shards are recorded.
    CHECK(read_journal(run.folder() / journal_file).entries.size() == 3);
    if (device.waits_for_results()) {
      CHECK(read_conv_algorithms(run.folder() / "conv_algorithms.json") == device.conv_algorithms());
      CHECK(sha256_file(run.folder() / "conv_algorithms.json") ==
            sha256_file(world().folder.path / "at-once-1" / "conv_algorithms.json"));
    }
  }

  // The second slice of shard 0, all of shard 2, one sample of shard 3: two shards to train, one that is skipped.
  const auto request = united(united(world().positions(12, 20), world().positions(48, 72)), world().positions(75, 76));
  Device device(test_device(2));
  SisaRun run = SisaRun::open(world().folder.path / "at-once-3");
  run.forget(request, {{"forget", "test"}});
  StopAfter stop(1);
  CHECK_THROWS_AS(run.complete(world().dataset, device, stop, 2), Interrupted);
  SisaRun reopened = SisaRun::open(run.folder());
  CHECK(reopened.complete(world().dataset, device, observer, 4).sample_passes > 0);
  SisaRun retrained = create("at-once-retrained", device, request);
  retrained.complete(world().dataset, device, observer);
  CHECK(checkpoints(reopened.folder()) == checkpoints(retrained.folder()));
}

TEST_CASE("shards side by side are interrupted and continued by any number of them") {
  Observer observer;
  Device device(test_device(2));
  TrainingConfig config = world().config;
  config.shards = 4;
  const auto create = [&](const std::string& name) {
    return SisaRun::create(world().folder.path / name, config, world().dataset, {}, {}, device);
  };
  SisaRun whole = create("undisturbed");
  whole.complete(world().dataset, device, observer);
  SisaRun run = create("disturbed");
  std::size_t states = 0;
  for (const auto& [after, parallel] : {std::pair{0, 4}, {3, 2}, {5, 3}, {2, 1}, {7, 4}}) {
    StopAfter stop(after);
    CHECK_THROWS_AS(SisaRun::open(run.folder()).complete(world().dataset, device, stop, parallel), Interrupted);
    std::size_t now = 0;
    for (const auto& [name, digest] : checkpoints(run.folder())) now += name.find(".state.") != std::string::npos;
    states = std::max(states, now);
    CHECK(read_journal(run.folder() / journal_file).entries.back().at("event") == "interrupted");
  }
  CHECK(states >= 3);  // each of them has saved its own
  SisaRun::open(run.folder()).complete(world().dataset, device, observer, 2);
  CHECK(checkpoints(run.folder()) == checkpoints(whole.folder()));
}

TEST_CASE("an error in one of the shards side by side stops the others and leaves a run to resume") {
  Observer observer;
  Device device(test_device(2));
  SisaRun run = world().create("one-fails", device);
  run.complete(world().dataset, device, observer, 2);
  const auto whole = checkpoints(run.folder());
  // Both shards have their last two stages to make; what the first one's begin with is damaged.
  for (const int shard : {0, 1}) {
    for (const int stage : {2, 3}) fs::remove(run.checkpoint(shard, stage));
  }
  const StateDict right = read_safetensors(run.checkpoint(0, 1));
  StateDict wrong = right;
  wrong.entries.begin()->second.bytes[0] ^= std::byte{1};
  write_safetensors(run.checkpoint(0, 1), wrong);
  CHECK_THROWS_WITH_AS(run.complete(world().dataset, device, observer, 2), doctest::Contains("shard-0/stage-1"), Error);
  CHECK_FALSE(fs::exists(run.checkpoint(1, 3)));
  CHECK(SisaRun::open(run.folder()).work().shards[0].sample_passes() > 0);
  SisaRun resumed = SisaRun::open(run.folder());
  resumed.lock();
  resumed.carry_out(resumed.work({}, resumed.find_damage()), world().dataset, device, observer, 2);
  CHECK(checkpoints(run.folder()) == whole);
}

TEST_CASE("a frozen backbone's features are each shard's own, also side by side") {
  Observer observer;
  Device device(test_device(2));
  TrainingConfig config = world().config;
  config.recipe.augment = false;
  config.transfer = {.image_size = 64, .normalization = NormalizationKind::imagenet, .freeze_backbone = true};
  std::map<std::string, std::string> first;
  for (const int parallel : {1, 2}) {
    SisaRun run = SisaRun::create(world().folder.path / fmt::format("frozen-at-once-{}", parallel), config,
                                  world().dataset, {}, {}, device);
    CHECK(run.complete(world().dataset, device, observer, parallel).feature_passes == 96);
    if (first.empty()) first = checkpoints(run.folder());
    CHECK(checkpoints(run.folder()) == first);
  }
}

TEST_CASE("a shard with nothing left takes no part") {
  Device device(test_device(2));
  Observer observer;
  SisaRun run = world().create("empty-shard", device);
  run.complete(world().dataset, device, observer);
  run.forget(world().positions(0, 48), {{"forget", "all of shard 0"}});
  CHECK(run.complete(world().dataset, device, observer).sample_passes == 0);
  CHECK(run.live_shards() == std::vector<int>{1});
  const Evaluator evaluator(device, world().dataset, {world().dataset.normalization});
  const auto sets = evaluation_sets({"test", "forget"}, world().dataset, run.forgotten());
  const RunScores scores = score_run(run, evaluator, sets, observer);
  CHECK(scores.shards == std::vector<int>{1});
  const RunMia mia = attack_run(run, scores, sets[1], {});
  CHECK(mia.shards.size() == 1);
  CHECK_FALSE(mia.shards[0].own.mia);
  CHECK(mia.shards[0].whole.mia);
  CHECK_THROWS_AS(run.forget(world().positions(48, 96), {{"forget", "the rest"}}), UsageError);
  CHECK(SisaRun::open(run.folder()).forgotten() == world().positions(0, 48));
}

TEST_CASE("a run refuses other data, damage, and a folder in use") {
  Device device(test_device(2));
  Observer observer;
  const fs::path folder = world().folder.path / "refusals";
  fs::remove_all(folder);  // of the subcase before
  SisaRun run = world().create("refusals", device);
  CHECK_THROWS_AS(world().create("refusals", device), UsageError);
  CHECK_THROWS_AS(SisaRun::open(world().folder.path / "data"), UsageError);
  Dataset other = world().dataset;
  other.train.digest[0] = other.train.digest[0] == '0' ? '1' : '0';
  CHECK_THROWS_AS(run.complete(other, device, observer), UsageError);
  SUBCASE("a checkpoint of another run") {
    run.complete(world().dataset, device, observer);
    fs::copy_file(run.checkpoint(1, 2), run.checkpoint(0, 2), fs::copy_options::overwrite_existing);
    CHECK(run.work().shards[0].first_stage == 2);  // made again, with what follows from it
  }
  SUBCASE("a truncated checkpoint") {
    fs::resize_file(run.checkpoint(0, 0), 1000);
    CHECK_THROWS_AS(run.work(), Error);
  }
  SUBCASE("a damaged checkpoint is made again, whatever shard a request is for") {
    run.complete(world().dataset, device, observer);
    const auto whole = checkpoints(run.folder());
    fs::resize_file(run.checkpoint(0, 2), 1000);
    run.complete(world().dataset, device, observer);
    CHECK(checkpoints(run.folder()) == whole);
  }
  SUBCASE("what a crash left behind goes when something is forgotten") {
    run.complete(world().dataset, device, observer);
    std::ofstream(run.folder() / "shard-0" / ".stage-3.safetensors.1-1.tmp") << "weights";
    std::ofstream(run.folder() / "shard-1" / "stage-2.state.safetensors") << "weights";
    run.forget(world().positions(0, 1), {{"forget", "test"}});
    CHECK(std::distance(fs::directory_iterator(run.folder() / "shard-0"), {}) == 1);
    CHECK(std::distance(fs::directory_iterator(run.folder() / "shard-1"), {}) == 4);
  }
  SUBCASE("two at a time") {
    SisaRun other_run = SisaRun::open(run.folder());
    run.forget(world().positions(0, 2), {{"forget", "test"}});  // holds the run until it is complete
    CHECK_THROWS_WITH_AS(other_run.forget(world().positions(50, 52), {}), doctest::Contains("another program"), Error);
    CHECK_THROWS_AS(other_run.complete(world().dataset, device, observer), Error);
    run.complete(world().dataset, device, observer);
    other_run.forget(world().positions(50, 52),
                     {{"forget", "test"}});  // opened before the first request, loses nothing
    other_run.complete(world().dataset, device, observer);
    CHECK(SisaRun::open(run.folder()).forgotten() == united(world().positions(0, 2), world().positions(50, 52)));
  }
  SUBCASE("a damaged run.json") {
    std::ofstream(run.folder() / "run.json") << "{\"format\": 1}";
    CHECK_THROWS_AS(SisaRun::open(run.folder()), Error);
  }
}
