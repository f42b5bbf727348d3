// Transfer as a person meets it: sizes, normalisations, other weights, frozen backbones, and who follows whom.
#include <doctest/doctest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "engine/formats/safetensors.h"
#include "tools/programs.h"

namespace fs = std::filesystem;
using Json = nlohmann::json;
using nepenthe::read_safetensors;
using nepenthe::StateDict;
using nepenthe::tests::Outcome;
using nepenthe::tests::slurp;

namespace {

/// A folder with two small data sets, of 4 and of 5 classes, and weights of the first at 64 px.
struct World {
  fs::path root = fs::temp_directory_path() / ("nepenthe-transfer-" + std::to_string(getpid()));

  World() {
    fs::remove_all(root);
    fs::create_directories(root);
    make("make_synthetic_data --out data --train 48 --test 16 --classes 4");
    make("make_synthetic_data --out more --train 60 --test 20 --classes 5 --seed 2");
    make(
        "train_model --data data --model resnet20 --epochs 1 --image-size 64 --normalization imagenet --out "
        "w.safetensors");
  }
  ~World() { fs::remove_all(root); }

  Outcome run(const std::string& command) const { return nepenthe::tests::run_program(root, command); }
  /// The result of a command that succeeds.
  Json make(const std::string& command) const {
    const Outcome outcome = run(command + " --quiet --json result.json");
    CAPTURE(command);
    CAPTURE(outcome.error);
    REQUIRE(outcome.exit_code == 0);
    Json result = Json::parse(slurp(root / "result.json"));
    fs::remove(root / "result.json");
    return result;
  }
  void refused(const std::string& command, std::initializer_list<const char*> words) const {
    CAPTURE(command);
    const auto before = nepenthe::tests::files_of(root);
    const Outcome outcome = run(command + " --quiet");
    CAPTURE(outcome.error);
    CHECK(outcome.exit_code == 2);
    for (const char* word : words) CHECK(outcome.error.find(word) != std::string::npos);
    CHECK(nepenthe::tests::files_of(root) == before);
  }
};

World& world() {
  static World one;
  return one;
}

const Json at_64 = {{"image_size", 64}, {"normalization", "imagenet"}, {"freeze", nullptr}};

}  // namespace

TEST_CASE("transfer: evaluation, attack and fine-tuning take pictures in as the weights' training did") {
  const Json trained = world().make(
      "train_model --data data --model resnet20 --epochs 1 --image-size 64 --normalization imagenet "
      "--out same.pth");
  CHECK(trained.at("transfer") == at_64);
  for (const std::string weights : {"w.safetensors", "same.pth"}) {  // the latter by the journal beside it
    const Json evaluated = world().make("eval_model --data data --model resnet20 --weights " + weights);
    CHECK(evaluated.at("transfer") == at_64);
    CHECK(evaluated.at("splits").at("test") == trained.at("splits").at("test"));
  }
  const Json otherwise = world().make(
      "eval_model --data data --model resnet20 --weights w.safetensors --image-size 32 --normalization cifar100");
  CHECK(otherwise.at("splits").at("test") != trained.at("splits").at("test"));
  CHECK(otherwise.at("transfer").at("image_size") == 32);
  CHECK(world()
            .make("eval_mia --data data --model resnet20 --weights w.safetensors --forget range:0-20")
            .at("transfer") == at_64);
  const Json tuned = world().make(
      "unlearn_finetune --data data --model resnet20 --weights w.safetensors --forget range:0-8 --epochs 1 "
      "--out tuned.safetensors");
  CHECK(tuned.at("transfer") == at_64);
}

TEST_CASE("transfer: from weights of other classes, with Adam's learning rates of the study") {
  const Json trained = world().make(
      "train_model --data more --model resnet20 --weights w.safetensors --optimizer adam --epochs 1 --out "
      "a.safetensors");
  CHECK(trained.at("new_head") == true);
  CHECK(trained.at("transfer") == at_64);
  CHECK(trained.at("recipe").at("lr") == 1e-4);
  CHECK(trained.at("recipe").at("fc_lr") == 1e-3);
  const Json given = world().make(
      "train_model --data more --model resnet20 --weights w.safetensors --optimizer adam --lr 0.002 --epochs 1 --out "
      "b.safetensors");
  CHECK(given.at("recipe").at("lr") == 0.002);
  CHECK(given.at("recipe").at("fc_lr") == nullptr);
}

TEST_CASE("transfer: a frozen backbone keeps every bit, and is refused where it makes no sense") {
  const std::string freeze =
      "train_model --data more --model resnet20 --freeze backbone --epochs 2 --out f.safetensors";
  world().refused(freeze, {"--weights"});
  world().refused(freeze + " --weights w.safetensors --augment", {"augmentation"});
  world().refused("train_sisa --data more --model resnet20 --freeze backbone --out f", {"--weights"});
  world().refused("train_model --data more --freeze head --out f.safetensors", {"backbone"});
  world().refused("train_model --data more --image-size 48 --out f.safetensors", {"48", "64"});
  world().refused("train_model --data more --normalization mnist --out f.safetensors", {"mnist", "imagenet"});

  const Json trained = world().make(freeze + " --weights w.safetensors");
  CHECK(trained.at("transfer").at("freeze") == "backbone");
  CHECK(trained.at("recipe").at("augment") == false);
  const StateDict start = read_safetensors(world().root / "w.safetensors");
  const StateDict made = read_safetensors(world().root / "f.safetensors");
  for (const auto& [name, tensor] : start.entries) {
    CAPTURE(name);
    if (!name.starts_with("fc.")) CHECK(made.find(name)->bytes == tensor.bytes);
  }
  // A forward pass of each picture, and three of the head a pass: far from three of everything.
  const Json full =
      world().make("train_model --data more --model resnet20 --weights w.safetensors --epochs 2 --out g.safetensors");
  CHECK(trained.at("cost").at("macs").get<double>() < full.at("cost").at("macs").get<double>() / 5);
}

TEST_CASE("transfer: a run keeps its own way, and forgets exactly") {
  const std::string train =
      "train_sisa --data more --model resnet20 --shards 2 --slices 2 --epochs 1,2 --batch 16 --weights w.safetensors "
      "--freeze backbone --out ";
  CHECK(world().make(train + "run").at("run").at("transfer") ==
        Json{{"image_size", 64}, {"normalization", "imagenet"}, {"freeze", "backbone"}});
  CHECK(world().make("unlearn_sisa --run run --forget range:3-9").at("cost").at("macs") > 0);
  world().make(train + "control --exclude range:3-9");
  const auto checkpoints = [](const std::string& run) {
    auto files = nepenthe::tests::files_of(world().root / run);
    std::erase_if(files, [](const auto& file) { return !file.first.ends_with(".safetensors"); });
    return files;
  };
  CHECK(checkpoints("run").size() == 6);
  CHECK(checkpoints("run") == checkpoints("control"));
  // A checkpoint by itself says how pictures go in too.
  const Json alone = world().make("eval_model --data more --model resnet20 --weights run/shard-0/stage-2.safetensors");
  CHECK(alone.at("transfer") == at_64);
  CHECK(alone.at("splits") == world().make("eval_model --run run").at("shards").at(0).at("splits"));
  world().refused("eval_model --run run --image-size 64", {"--image-size"});
  world().refused("eval_model --run run --normalization imagenet", {"--normalization"});
  world().refused("train_sisa --out run --resume --image-size 32", {"--image-size"});
  CHECK(world().run("train_sisa --out run --resume --image-size 64 --freeze backbone --quiet").exit_code == 0);
  world().refused("unlearn_sisa --run run --resume --augment", {"no stage is left"});
}
