// What programs leave behind: nothing of a killed one after the next start, nothing of one that failed; no output in
// the place of another file; and where weights came from.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "engine/base/file.h"
#include "engine/formats/sealed_json.h"
#include "engine/formats/torch_checkpoint.h"
#include "kernels/revision.h"
#include "tools/programs.h"
#include "unlearning/provenance/journal.h"

namespace fs = std::filesystem;
using namespace nepenthe;
using namespace nepenthe::tests;
using Json = nlohmann::ordered_json;

namespace {

struct World {
  fs::path root = fs::temp_directory_path() / fmt::format("nepenthe-leftovers-{}", getpid());

  World() {
    fs::remove_all(root);
    fs::create_directories(root);
    REQUIRE(run("make_synthetic_data --out data --train 24 --test 8 --classes 4").exit_code == 0);
    REQUIRE(run(train_run + "--out run").exit_code == 0);
    REQUIRE(run(train_one + "--out base.safetensors").exit_code == 0);
  }
  ~World() { fs::remove_all(root); }

  const std::string train_run = "train_sisa --data data --model resnet20 --shards 2 --slices 2 --epochs 1,1 --batch 8 ";
  const std::string train_one = "train_model --data data --model resnet20 --epochs 2 --batch 8 ";

  Outcome run(const std::string& command, const std::string& environment = "") const {
    const bool computes = !command.starts_with("make") && !command.starts_with("convert");
    return run_program(root, command + (computes ? " --threads 1 --device cpu" : ""), environment);
  }
  std::set<std::string> listing() const {
    std::set<std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      all.insert(fs::relative(entry.path(), root).string());
    }
    return all;
  }
  Json json(const std::string& name) const { return Json::parse(slurp(root / name)); }
};

World& world() {
  static World one;
  return one;
}

bool says(const Outcome& outcome, const std::string& text) { return outcome.error.find(text) != std::string::npos; }

/// Kills `command` at each of its changes below the folder "made", and starts it, or `resumed` where it says that this
/// is how to go on, again: what is there then is what is there of one that nothing happened to.
void kill_everywhere(const std::string& command, const std::string& resumed) {
  const fs::path made = world().root / "made";
  fs::remove_all(made);
  fs::create_directory(made);
  const Outcome whole = world().run(command);
  CAPTURE(whole.error);
  REQUIRE(whole.exit_code == 0);
  const auto wanted = world().listing();
  const std::string fault = fmt::format(
      "ASAN_OPTIONS=verify_asan_link_order=0 LD_PRELOAD={} FAULT_FOLDER={} FAULT_COUNT={} FAULT_MODE=kill FAULT_AT=",
      NEPENTHE_FAULT_LIBRARY, made.string(), (world().root / "count").string());
  int kills = 0, notes = 0;
  for (int at = 1; at < 300; ++at) {
    CAPTURE(at);
    fs::remove_all(made);
    fs::create_directory(made);
    const Outcome killed = world().run(command, fault + std::to_string(at));
    fs::remove(world().root / "count");
    if (killed.exit_code == 0) break;
    REQUIRE(killed.exit_code == -1);
    ++kills;
    Outcome next = world().run(command);
    if (next.exit_code == 2 && !resumed.empty()) {
      if (says(next, "removed")) ++notes;
      next = world().run(resumed);
    }
    CAPTURE(next.error);
    if (next.exit_code == 2) CHECK(says(next, "exists already"));  // the kill came when all was done
    if (says(next, "left by a killed program, and removed")) ++notes;
    CHECK(world().listing() == wanted);
  }
  CHECK(kills > 3);
  CHECK(notes > 0);
  fs::remove_all(made);
}

/// Refused as a wrong request, in one line with these words, and nothing is changed.
void check_refused(const std::string& command, std::initializer_list<const char*> words) {
  CAPTURE(command);
  const auto before = files_of(world().root);
  const Outcome outcome = world().run(command + " --quiet");
  CAPTURE(outcome.error);
  CHECK(outcome.exit_code == 2);
  CHECK(std::ranges::count(outcome.error, '\n') == 1);
  for (const char* word : words) CHECK(says(outcome, word));
  CHECK(files_of(world().root) == before);
}

/// Has every line of a journal, or a sealed file, tell of other kernels, as older ones do.
Json with_other_kernels(Json json) {
  if (json.erase("kernels") > 0) json["libraries"]["oneDNN"] = "1.2.3";
  json.erase("digest");
  return json;
}
void forge_journal(const fs::path& path) {
  std::string text, before = sha256_hex("");
  for (const Json& entry : read_journal(path).entries) {
    Json line = with_other_kernels(entry);
    seal(line, before);
    before = line.at("digest");
    text += line.dump() + "\n";
  }
  spill(path, text);
}

}  // namespace

TEST_CASE("a killed program leaves nothing behind once the next has started") {
  const std::string made = (world().root / "made").string();
  SUBCASE("make_synthetic_data") {
    kill_everywhere(fmt::format("make_synthetic_data --train 4 --test 2 --classes 2 --out {}/data", made), "");
  }
  SUBCASE("convert_weights") { kill_everywhere(fmt::format("convert_weights base.safetensors {}/base.pth", made), ""); }
  SUBCASE("eval_model") {
    kill_everywhere(
        fmt::format("eval_model --run run --losses {0}/losses --logits {0}/logits --json {0}/result.json", made), "");
  }
  SUBCASE("train_model") {
    const std::string train =
        world().train_one + fmt::format("--out {0}/model.safetensors --json {0}/result.json", made);
    kill_everywhere(train, train + " --resume");
  }
  SUBCASE("train_sisa") {
    const std::string run = made + "/run";
    kill_everywhere(world().train_run + "--out " + run, fmt::format("train_sisa --out {} --resume", run));
  }
}

TEST_CASE("resuming a training that was killed when it was done says so, and clears up") {
  for (const std::string ending : {".safetensors", ".pth"}) {
    const std::string out = "done" + ending, train = world().train_one + "--out " + out + " --json result.json";
    CHECK(world().run(train).exit_code == 0);
    const std::string bytes = slurp(world().root / out);
    const auto wanted = world().listing();
    spill(world().root / (out + ".state"), "what was not yet removed");
    const Outcome resumed = world().run(train + " --resume");
    CAPTURE(resumed.error);
    CHECK(resumed.exit_code == 0);
    CHECK(says(resumed, "the training is complete"));
    CHECK(says(resumed, out + ".state: left by a killed program, and removed"));
    CHECK(world().listing() == wanted);
    CHECK(slurp(world().root / out) == bytes);
    CHECK(world().json("result.json").at("cost").at("sample_passes") == 0);
    CHECK(world().json("result.json").at("splits").contains("test"));
    check_refused(world().train_one + "--resume --lr 0.3 --out " + out, {"other options"});
    check_refused(train, {"exists already"});
    // Of another training there is no proof, and nothing is removed.
    fs::copy_file(world().root / "run/shard-0/stage-1.safetensors", world().root / out,
                  fs::copy_options::overwrite_existing);
    spill(world().root / (out + ".state"), "perhaps of use");
    check_refused(train + " --resume", {"exists already"});
    for (const std::string& name : {out, out + ".state", out + ".manifest.jsonl"}) fs::remove(world().root / name);
    fs::remove(world().root / "result.json");
  }
}

TEST_CASE("a training that comes to nothing leaves no folder; one that made something is resumed") {
  const auto before = world().listing();
  const Outcome diverged = world().run(
      "train_sisa --data data --model resnet20 --shards 2 --slices 2 --epochs 2,2 --batch 8 --lr 1e30 --out new");
  CHECK(diverged.exit_code == 1);
  CHECK(says(diverged, "new is removed"));
  CHECK(world().listing() == before);
  // Later stages that diverge leave a run.
  const Outcome later = world().run(
      "train_sisa --data data --model resnet20 --shards 2 --slices 2 --epochs 1,30 --batch 8 --lr 1e9 --out new");
  CHECK(later.exit_code == 1);
  if (fs::exists(world().root / "new/shard-0/stage-1.safetensors")) CHECK(says(later, "--resume"));
  fs::remove_all(world().root / "new");
  CHECK(world().listing() == before);
}

TEST_CASE("outputs are nowhere where something else is") {
  const std::string one = "eval_model --model resnet20 --weights base.safetensors --data data ";
  fs::create_directory_symlink(world().root / "run", world().root / "link");
  check_refused("eval_model --run run --json run/run.json", {"--json run/run.json", "--run run"});
  check_refused("eval_model --run run --json link/../run/./manifest.jsonl", {"--json", "--run"});
  check_refused("eval_model --run link --json run/shard-0/stage-1.safetensors", {"--json", "--run"});
  check_refused("eval_model --run run --losses run/shard-0", {"--losses", "--run"});
  check_refused("unlearn_sisa --run run --forget range:0-1 --json run/conv_algorithms.json", {"--json", "--run"});
  check_refused("unlearn_sisa --run run --forget range:0-1 --json data/train.bin", {"--json", "the run's data"});
  check_refused("train_sisa --out run --resume --json run/run.json", {"--json", "--out"});
  nepenthe::tests::spill(world().root / "ids,x", "1\n");
  check_refused("unlearn_sisa --run run --forget class:1,ids:ids,x --json ids,x", {"--json ids,x", "--forget ids,x"});
  check_refused(one + "--forget ids:ids,x@0.5,range:0-2 --json ids,x", {"--json ids,x", "--forget ids,x"});
  check_refused(world().train_one + "--exclude ids:ids,x --out x.safetensors --json ids,x",
                {"--json", "specification"});
  check_refused("train_sisa --data data --exclude ids:ids,x --out new --json ids,x", {"--json", "--exclude"});
  fs::remove(world().root / "ids,x");
  check_refused(one + "--json base.safetensors", {"--json", "--weights"});
  check_refused(one + "--json ./data/fine_label_names.txt", {"--json", "--data"});
  check_refused(one + "--losses x --logits ./x/", {"--logits", "--losses"});
  check_refused(one + "--losses x --json x/test.npy", {"x/test.npy"});
  check_refused(world().train_one + "--out x.safetensors --json ./x.safetensors", {"--json", "--out"});
  check_refused(world().train_one + "--out x.safetensors --json x.safetensors.state", {"--json", "--out's state"});
  check_refused(world().train_one + "--out x.safetensors --json x.safetensors.manifest.jsonl", {"--out's journal"});
  check_refused(world().train_one + "--out base.safetensors --weights base.safetensors", {"--out", "--weights"});
  check_refused("convert_weights base.safetensors x.pth --json x.pth", {"--json", "output"});
  check_refused("train_sisa --data data --model resnet20 --out data", {"--out", "--data"});
  fs::remove(world().root / "link");
  // What only lies beside is nobody's.
  CHECK(world().run("eval_model --run run --json data/result.json").exit_code == 0);
  fs::remove(world().root / "data/result.json");
}

TEST_CASE("the ending of --out says the format, before training") {
  for (const std::string ending : {"", ".h5", ".safetensor"}) {
    check_refused(world().train_one + "--out x" + ending, {".safetensors, .pt or .pth"});
    check_refused(
        "unlearn_finetune --data data --weights base.safetensors --model resnet20 --forget range:0-1 --out x" + ending,
        {".safetensors, .pt or .pth"});
  }
  CHECK(world().run(world().train_one + "--out x.pth").exit_code == 0);
  const StateDict torch = read_weights(world().root / "x.pth"), own = read_weights(world().root / "base.safetensors");
  CHECK(slurp(world().root / "x.pth").starts_with("PK"));
  REQUIRE(torch.entries.size() == own.entries.size());
  for (const auto& [tensor_name, tensor] : own.entries) CHECK(torch.find(tensor_name)->bytes == tensor.bytes);
  fs::remove(world().root / "x.pth");
  fs::remove(world().root / "x.pth.manifest.jsonl");
}

TEST_CASE("what can be refused is refused before a request is recorded") {
  const std::string journal = slurp(world().root / "run/manifest.jsonl");
  const std::string forget = "unlearn_sisa --run run --quiet --forget ";
  for (const std::string& command :
       {forget + "range:0-24", forget + "range:0-1 --json nowhere/x.json", forget + "range:0-1 --data nowhere",
        forget + "range:0-1 --conv-algorithms nowhere.json", forget + "range:0-1 --precision bf16"}) {
    CAPTURE(command);
    CHECK(world().run(command).exit_code != 0);
    CHECK(slurp(world().root / "run/manifest.jsonl") == journal);
  }
  CHECK(run_program(world().root, forget + "range:0-1 --device cuda").exit_code != 0);
  CHECK(slurp(world().root / "run/manifest.jsonl") == journal);
}

TEST_CASE("weights tell where they came from, link by link") {
  const std::string finetune =
      "unlearn_finetune --data data --model resnet20 --epochs 1 --batch 8 --weights base.safetensors --forget class:1 ";
  for (const std::string out : {"tuned.safetensors", "tuned.pth"}) {
    CAPTURE(out);
    CHECK(world().run(finetune + "--out " + out + " --json result.json").exit_code == 0);
    const Json origin = world().json("result.json").at("origin");
    CHECK(origin.at("left_out").at("specification") == "class:1");
    CHECK(origin.at("left_out").at("samples") == 6);
    CHECK(origin.at("weights").at("file") == "base.safetensors");
    CHECK(origin.at("weights").at("sha256") == sha256_file(world().root / "base.safetensors"));
    CHECK(origin.at("weights").at("origin").at("configuration").at("model") == "resnet20");
    const auto journal = read_journal(world().root / (out + ".manifest.jsonl")).entries;
    CHECK(journal.front().at("origin") == origin);

    const Outcome made = world().run(
        "train_sisa --data data --model resnet20 --shards 2 --slices 1 --epochs 1 --out from "
        "--json result.json --weights " +
        out);
    CHECK(made.exit_code == 0);
    CHECK(says(made, out));
    CHECK(says(made, "class:1"));
    CHECK(says(made, "base.safetensors"));
    for (const std::string command : {"eval_model --run from", "eval_mia --run from --forget range:0-12",
                                      "unlearn_sisa --run from --forget range:0-1", "train_sisa --out from --resume"}) {
      CAPTURE(command);
      const Outcome outcome = world().run(command + " --json result.json");
      CHECK(outcome.exit_code == 0);
      CHECK(says(outcome, "class:1"));
      CHECK(world().json("result.json").at("run").at("weights").at("origin") == origin);
    }
    const Outcome evaluated =
        world().run("eval_model --data data --model resnet20 --json result.json --weights " + out);
    CHECK(world().json("result.json").at("weights").at("origin") == origin);
    CHECK(says(evaluated, "class:1"));
    fs::remove_all(world().root / "from");
  }
  CHECK(read_weights(world().root / "tuned.safetensors").entries.size() ==
        read_weights(world().root / "tuned.pth").entries.size());
  CHECK(world().run("eval_model --run run --json result.json").exit_code == 0);
  CHECK(world().json("result.json").at("run").at("weights").is_null());
}

TEST_CASE("class names that were edited are refused, of runs and of single models") {
  fs::copy(world().root / "data", world().root / "renamed");
  const fs::path names = world().root / "renamed/fine_label_names.txt";
  const std::string text = slurp(names);
  const std::string first = text.substr(0, text.find('\n') + 1), rest = text.substr(first.size());
  const std::string second = rest.substr(0, rest.find('\n') + 1);
  for (const bool missing : {false, true}) {
    if (missing) {
      fs::remove(names);
      fs::remove(world().root / "renamed/coarse_label_names.txt");
    } else {
      spill(names, second + first + rest.substr(second.size()));
    }
    check_refused("unlearn_sisa --run run --data renamed --forget class:1", {"renamed", "fine_label_names.txt"});
    check_refused("eval_model --run run --data renamed", {"fine_label_names.txt"});
    if (missing) continue;  // 100 classes are no longer those of these weights
    const std::string one = " --data renamed --model resnet20 --weights base.safetensors --forget class:1 ";
    check_refused("eval_mia" + one, {"fine_label_names.txt", "base.safetensors"});
    check_refused("unlearn_finetune --out x.safetensors" + one, {"fine_label_names.txt", "base.safetensors"});
  }
  fs::remove_all(world().root / "renamed");
}

TEST_CASE("going on with other kernels is said, in the result, and in the journal") {
  const fs::path run = world().root / "other";
  fs::copy(world().root / "run", run, fs::copy_options::recursive);
  forge_journal(run / "manifest.jsonl");
  const Outcome outcome = world().run("unlearn_sisa --run other --forget range:0-1 --json result.json");
  CAPTURE(outcome.error);
  CHECK(outcome.exit_code == 0);
  CHECK(says(outcome, "oneDNN 1.2.3"));
  bool told = false;
  for (const Json& entry : read_journal(run / "manifest.jsonl").entries) {
    told = told || (entry.at("event") == "training" && entry.contains("unlike") &&
                    entry.at("unlike").at("kernels") == Json::array({"oneDNN 1.2.3"}) &&
                    entry.at("kernels") == kernels::cpu_revision);
  }
  CHECK(told);
  CHECK(world().json("result.json").at("run").at("kernels") == Json::array({kernels::cpu_revision, "oneDNN 1.2.3"}));
  // One that stays with its own has nothing to say.
  CHECK_FALSE(says(world().run("eval_model --run run --json result.json"), "oneDNN"));
  CHECK(world().json("result.json").at("run").at("kernels") == Json::array({kernels::cpu_revision}));
  fs::remove_all(run);

  const std::string train = "train_model --data data --model resnet20 --epochs 40 --batch 8 --out long.safetensors ";
  (void)world().run(train, "timeout --foreground -s INT 0.6");
  REQUIRE(fs::exists(world().root / "long.safetensors.state"));
  forge_journal(world().root / "long.safetensors.manifest.jsonl");
  const Outcome resumed = world().run(train + "--resume");
  CHECK(resumed.exit_code == 0);
  CHECK(says(resumed, "oneDNN 1.2.3"));
  const auto entries = read_journal(world().root / "long.safetensors.manifest.jsonl").entries;
  CHECK(entries.at(entries.size() - 2).at("event") == "resumed");
  CHECK(entries.at(entries.size() - 2).at("unlike").at("kernels") == "oneDNN 1.2.3");
}
