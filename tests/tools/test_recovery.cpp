// What a run and a single model come through: damaged bytes, links and foreign files, two programs at a time, a redo
// that diverges.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/programs.h"
#include "unlearning/methods/sisa_run.h"

namespace fs = std::filesystem;
using namespace nepenthe;
using namespace nepenthe::tests;

namespace {

struct World {
  fs::path root = fs::temp_directory_path() / ("nepenthe-recovery-" + std::to_string(getpid()));

  World() {
    fs::remove_all(root);
    fs::create_directories(root);
    REQUIRE(run("make_synthetic_data --out data --train 48 --test 12 --classes 4").exit_code == 0);
    REQUIRE(run("train_sisa --data data --model resnet20 --shards 2 --slices 2 --epochs 1,1 --batch 16 --out whole")
                .exit_code == 0);
  }
  ~World() { fs::remove_all(root); }

  Outcome run(const std::string& command, const std::string& environment = "") const {
    const bool makes_data = command.starts_with("make");
    return run_program(root, command + (makes_data ? "" : " --threads 1 --device cpu"), environment);
  }
  /// A copy of the run under the name "run".
  fs::path copy() const {
    fs::remove_all(root / "run");
    fs::copy(root / "whole", root / "run", fs::copy_options::recursive);
    return root / "run";
  }
};

World& world() {
  static World one;
  return one;
}

void flip(const fs::path& file, std::size_t at, int bit) {
  std::string bytes = slurp(file);
  bytes[at % bytes.size()] = static_cast<char>(bytes[at % bytes.size()] ^ (1 << bit));
  spill(file, bytes);
}

/// Places of a safetensors file to flip a bit in: header length, names, metadata, padding, tensors.
std::vector<std::size_t> places(const fs::path& file) {
  const std::string bytes = slurp(file);
  const std::size_t header = static_cast<unsigned char>(bytes[0]) + 256 * static_cast<unsigned char>(bytes[1]);
  return {0,
          1,
          bytes.find("\"digest\""),
          bytes.find("\"digest\"") + 4,
          bytes.find("sha256:") + 9,
          bytes.find("sha256:") + 3,
          bytes.find("\"F32\"") + 1,
          bytes.find("bn1.running_mean"),
          header + 7,
          header + 9,
          bytes.size() / 2,
          bytes.size() - 1};
}

bool says(const Outcome& outcome, const std::string& text) { return outcome.error.find(text) != std::string::npos; }

}  // namespace

TEST_CASE("a flipped bit in a checkpoint is found, named, and made good where it can be") {
  const fs::path run = world().copy();
  const auto whole = shard_files(run);
  for (const std::string name : {"shard-0/stage-1.safetensors", "shard-1/stage-2.safetensors"}) {
    for (const std::size_t at : places(run / name)) {
      for (const int bit : {0, 5}) {
        CAPTURE(name);
        CAPTURE(at);
        CAPTURE(bit);
        flip(run / name, at, bit);
        const Outcome resumed = world().run("unlearn_sisa --run run --resume");
        CHECK(resumed.exit_code == 0);
        CHECK(says(resumed, name));
        CHECK(shard_files(run) == whole);
      }
    }
  }
  // Where only its contents are asked for, it is an error, not other weights.
  flip(run / "shard-1/stage-2.safetensors", 500'000, 3);
  const Outcome evaluated = world().run("eval_model --run run");
  CHECK(evaluated.exit_code == 1);
  CHECK(says(evaluated, "shard-1/stage-2.safetensors: damaged"));
  flip(run / "shard-1/stage-2.safetensors", 500'000, 3);
  flip(run / "shard-0/stage-1.safetensors", 500'000, 3);
  const Outcome forgot = world().run("unlearn_sisa --run run --forget range:12-13");
  CHECK(forgot.exit_code == 1);
  CHECK(says(forgot, "shard-0/stage-1.safetensors: damaged"));
  CHECK(says(forgot, "--resume"));
  CHECK(world().run("unlearn_sisa --run run --resume").exit_code == 0);
  const auto served = shard_files(run);
  world().copy();
  CHECK(world().run("unlearn_sisa --run run --forget range:12-13").exit_code == 0);
  CHECK(shard_files(run) == served);
}

TEST_CASE("a flipped bit in what cannot be made again is an error that names the file") {
  for (const std::string name : {"shard-0/stage-0.safetensors", "run.json", "manifest.jsonl"}) {
    const std::size_t size = slurp(world().root / "whole" / name).size();
    for (const std::size_t at : {std::size_t{10}, size / 3, size / 2, size - 70, size - 5, size - 1}) {
      CAPTURE(name);
      CAPTURE(at);
      const fs::path run = world().copy();
      flip(run / name, at, 2);
      const auto before = files_of(run);
      for (const std::string command : {"unlearn_sisa --run run --resume", "train_sisa --out run --resume"}) {
        const Outcome outcome = world().run(command);
        CAPTURE(outcome.error);
        CHECK(outcome.exit_code == 1);
        CHECK(says(outcome, name));
      }
      CHECK(files_of(run) == before);
    }
  }
  // A line taken out, or two changed places.
  const fs::path run = world().copy();
  const std::string journal = slurp(run / "manifest.jsonl");
  spill(run / "manifest.jsonl", journal.substr(journal.find('\n') + 1));
  CHECK(world().run("eval_model --run run").exit_code == 1);
  spill(run / "manifest.jsonl", "");
  CHECK(says(world().run("eval_model --run run"), "manifest.jsonl: damaged"));
  // A last line without its end never counted, and goes.
  spill(run / "manifest.jsonl", journal + R"({"time":"2026-11-25T14:11:22Z","event":"forget","ids":[1,2)");
  CHECK(world().run("eval_model --run run").exit_code == 0);
  CHECK(world().run("unlearn_sisa --run run --resume").exit_code == 0);
  CHECK(slurp(run / "manifest.jsonl") == journal);
}

TEST_CASE("a flipped bit in a training state is found and named") {
  const std::string options = "--data data --model resnet20 --batch 16 --quiet ";
  const std::string interrupt = "timeout --foreground -s INT 0.6";
  SUBCASE("of a run: the stage is made from its beginning") {
    const std::string train = "train_sisa --shards 1 --slices 1 --epochs 12 " + options;
    CHECK(world().run(train + "--out straight").exit_code == 0);
    (void)world().run(train + "--out halted", interrupt);
    const fs::path state = world().root / "halted/shard-0/stage-1.state.safetensors";
    REQUIRE(fs::exists(state));
    flip(state, slurp(state).size() / 2, 6);
    const Outcome resumed = world().run("train_sisa --out halted --resume");
    CHECK(resumed.exit_code == 0);
    CHECK(says(resumed, "stage-1.state.safetensors: damaged"));
    CHECK(shard_files(world().root / "halted") == shard_files(world().root / "straight"));
  }
  SUBCASE("of a single model: it is not continued") {
    const std::string train = "train_model --epochs 12 " + options + "--out halted.safetensors ";
    (void)world().run(train, interrupt);
    const fs::path out = world().root / "halted.safetensors", state = out.string() + ".state";
    REQUIRE(fs::exists(state));
    const std::size_t middle = slurp(state).size() / 2;
    flip(state, middle, 6);
    const Outcome refused = world().run(train + "--resume");
    CHECK(refused.exit_code == 1);
    CHECK(says(refused, "halted.safetensors.state: damaged"));
    flip(state, middle, 6);
    CHECK(world().run(train + "--resume --lr 0.3").exit_code == 2);
    CHECK(world().run(train + "--resume").exit_code == 0);
    CHECK_FALSE(fs::exists(state));
    std::vector<std::string> events;
    for (const auto& entry : read_journal(out.string() + ".manifest.jsonl").entries)
      events.push_back(entry.at("event"));
    CHECK(events == std::vector<std::string>{"created", "interrupted", "completed"});
  }
}

TEST_CASE("links and foreign files: named, never followed, never removed") {
  const fs::path run = world().copy();
  spill(run / "shard-0" / "notes.txt", "mine");
  spill(run / "shard-1" / "stage-2.safetensors.bak", "weights");
  fs::create_directory(run / "shard-1" / "stage-7.safetensors");
  fs::create_symlink(world().root / "data", run / "shard-1" / "pictures");
  spill(run / "keep.pt", "mine too");
  spill(run / "shard-0" / ".stage-2.safetensors.12-3.tmp", "what a crash left");
  const Outcome outcome = world().run("unlearn_sisa --run run --forget range:0-1");
  CHECK(outcome.exit_code == 0);
  for (const char* name : {"notes.txt", "stage-2.safetensors.bak", "pictures", "keep.pt", "stage-7.safetensors"}) {
    CAPTURE(name);
    CHECK(says(outcome, name));
  }
  CHECK(std::ranges::count(outcome.error, '\n') == 2);
  CHECK(fs::exists(run / "shard-0" / "notes.txt"));
  CHECK(fs::exists(run / "shard-1" / "stage-2.safetensors.bak"));
  CHECK(fs::exists(run / "shard-1" / "stage-7.safetensors"));
  CHECK(fs::exists(world().root / "data" / "train.bin"));
  CHECK(fs::exists(run / "keep.pt"));
  CHECK_FALSE(fs::exists(run / "shard-0" / ".stage-2.safetensors.12-3.tmp"));

  // The state of a stage to make is none of those: it would be written through.
  world().copy();
  fs::remove(run / "shard-1/stage-2.safetensors");
  spill(world().root / "elsewhere", "mine");
  fs::create_symlink(world().root / "elsewhere", run / "shard-1/stage-2.state.safetensors");
  const Outcome linked_state = world().run("unlearn_sisa --run run --resume");
  CHECK(linked_state.exit_code == 1);
  CHECK(says(linked_state, "stage-2.state.safetensors: is a symbolic link"));
  CHECK(slurp(world().root / "elsewhere") == "mine");
  fs::remove(world().root / "elsewhere");

  for (const std::string name : {"shard-1", "shard-1/stage-2.safetensors", "manifest.jsonl"}) {
    CAPTURE(name);
    const fs::path linked = world().copy() / name;
    fs::rename(linked, world().root / "elsewhere");
    fs::create_symlink(world().root / "elsewhere", linked);
    const auto before = files_of(world().root);
    const Outcome refused = world().run("unlearn_sisa --run run --forget range:24-25");
    CHECK(refused.exit_code == 1);
    CHECK(says(refused, name));
    CHECK(says(refused, "symbolic link"));
    CHECK(files_of(world().root) == before);
    fs::remove_all(world().root / "elsewhere");
  }
}

TEST_CASE("a redo that diverges leaves the request pending, and another recipe serves it") {
  const fs::path run = world().copy();
  fs::remove(run / "shard-1" / "stage-2.safetensors");
  const Outcome strict = world().run("train_sisa --out run --resume --lr 1e30");
  CHECK(strict.exit_code == 2);
  CHECK(says(strict, "unlearn_sisa --run run --resume"));
  const Outcome diverged = world().run("unlearn_sisa --run run --resume --lr 1e30");
  CAPTURE(diverged.error);
  CHECK(diverged.exit_code == 1);
  CHECK(says(diverged, "the loss is"));
  CHECK(says(diverged, "unlearn_sisa --run run --resume --lr"));
  CHECK(world().run("eval_model --run run").exit_code == 1);
  CHECK(world().run("unlearn_sisa --run run --forget range:0-1").exit_code == 1);
  CHECK(world().run("unlearn_sisa --run run --resume --lr 0.02 --no-nesterov").exit_code == 0);
  CHECK(world().run("eval_model --run run").exit_code == 0);
  const auto served = shard_files(run);

  // The same recipe at once gives the same bytes; the run's own gives others, and says so in their lineage.
  const fs::path at_once = world().copy();
  const auto own = shard_files(at_once);
  fs::remove(at_once / "shard-1" / "stage-2.safetensors");
  CHECK(world().run("unlearn_sisa --run run --resume --lr 0.02 --no-nesterov").exit_code == 0);
  CHECK(shard_files(at_once) == served);
  CHECK(served.at("shard-1/stage-2.safetensors") != own.at("shard-1/stage-2.safetensors"));
  CHECK(served.at("shard-1/stage-1.safetensors") == own.at("shard-1/stage-1.safetensors"));
  // From now on it is that stage's recipe.
  fs::remove(at_once / "shard-1" / "stage-2.safetensors");
  CHECK(world().run("train_sisa --out run --resume").exit_code == 0);
  CHECK(shard_files(at_once) == served);
  CHECK(world().run("unlearn_sisa --run run --resume --lr 0.3").exit_code == 2);  // nothing is left to make
  CHECK(world().run("unlearn_sisa --run run --forget range:0-1 --lr 0.3").exit_code == 2);
}

TEST_CASE("a run goes on with the instruction set that made it, unless another is asked for") {
  const std::string v2 = "NEPENTHE_ISA=x86-64-v2";
  const std::string train = "train_sisa --data data --model resnet20 --shards 2 --slices 2 --epochs 1,1 --batch 16 ";
  CHECK(world().run(train + "--out v2", v2).exit_code == 0);
  CHECK(world().run(train + "--out v2-without --exclude range:12-13", v2).exit_code == 0);
  CHECK(shard_files(world().root / "v2") != shard_files(world().root / "whole"));
  const Outcome forgot = world().run("unlearn_sisa --run v2 --forget range:12-13");
  CHECK(forgot.exit_code == 0);
  CHECK(forgot.error.empty());
  CHECK(shard_files(world().root / "v2") == shard_files(world().root / "v2-without"));
  world().copy();
  const Outcome asked = world().run("unlearn_sisa --run run --forget range:12-13", v2);
  CHECK(asked.exit_code == 0);
  CHECK((asked.error.empty() || says(asked, "note: the run was made on")));
  CHECK(asked.error.empty() == (read_run_file(world().root / "run").config.isa == kernels::Isa::v2));
  CHECK(world().run("eval_model --run v2").error.empty());
}

TEST_CASE("the plan that is shown is the plan that is carried out") {
  const fs::path run = world().copy();
  const std::string forget = "unlearn_sisa --run run --forget range:3-4,range:30-40 --json ";
  CHECK(world().run(forget + "dry.json --dry-run").exit_code == 0);
  CHECK(shard_files(run) == shard_files(world().root / "whole"));
  CHECK(world().run(forget + "done.json").exit_code == 0);
  const auto dry = nlohmann::json::parse(slurp(world().root / "dry.json"));
  const auto done = nlohmann::json::parse(slurp(world().root / "done.json"));
  CHECK(dry.at("plan") == done.at("plan"));
  CHECK(done.at("cost").at("sample_passes") == dry.at("plan").at("sample_passes"));
  CHECK(read_journal(run / "manifest.jsonl").entries.back().at("sample_passes") == dry.at("plan").at("sample_passes"));

  // The same where a checkpoint is missing besides.
  fs::remove(run / "shard-1" / "stage-1.safetensors");
  const std::string resume = "unlearn_sisa --run run --resume --json ";
  CHECK(world().run(resume + "dry.json --dry-run").exit_code == 0);
  CHECK(world().run(resume + "done.json").exit_code == 0);
  const auto dry_2 = nlohmann::json::parse(slurp(world().root / "dry.json"));
  const auto done_2 = nlohmann::json::parse(slurp(world().root / "done.json"));
  CHECK(dry_2.at("plan") == done_2.at("plan"));
  CHECK(done_2.at("cost").at("sample_passes") == dry_2.at("plan").at("sample_passes"));
}

TEST_CASE("single models: a journal, one program at a time, and no damage unseen") {
  const fs::path out = world().root / "one.safetensors";
  const std::string train = "train_model --data data --model resnet20 --batch 16 --out one.safetensors --quiet";
  CHECK(world().run(train + " --epochs 1").exit_code == 0);
  const auto entries = read_journal(out.string() + ".manifest.jsonl").entries;
  REQUIRE(entries.size() == 2);
  CHECK(entries[0].at("event") == "created");
  CHECK(entries[0].at("configuration").at("model") == "resnet20");
  CHECK(entries[1].at("event") == "completed");
  for (const std::size_t at : {std::size_t{500}, slurp(out).size() / 2}) {
    flip(out, at, 1);
    const Outcome outcome = world().run("eval_model --model resnet20 --data data --weights one.safetensors");
    CHECK(outcome.exit_code == 1);
    CHECK(says(outcome, "one.safetensors"));
    flip(out, at, 1);
  }
  CHECK(world().run("eval_model --model resnet20 --data data --weights one.safetensors").exit_code == 0);
  fs::remove(out);

  spill(out.string() + ".state", "of the first program");
  const Journal held(out.string() + ".manifest.jsonl");
  const Outcome second = world().run(train + " --epochs 1");
  CHECK(second.exit_code == 1);
  CHECK(says(second, "another program"));
  CHECK(std::ranges::count(second.error, '\n') == 1);
}
