// Shards trained side by side, as programs do it: stopped, killed, gone on with by another number of them, and the same
// bytes at the end.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "tools/programs.h"
#include "unlearning/methods/sisa_run.h"

namespace fs = std::filesystem;
using namespace nepenthe;
using namespace nepenthe::tests;

namespace {

struct World {
  fs::path root = fs::temp_directory_path() / fmt::format("nepenthe-parallel-{}", getpid());
  std::string train =
      "train_sisa --data data --model resnet20 --shards 4 --slices 2 --epochs 16,16 --batch 16 --quiet --out ";
  double seconds = 0;  // that the training takes

  World() {
    fs::remove_all(root);
    fs::create_directories(root);
    REQUIRE(run("make_synthetic_data --out data --train 96 --test 12 --classes 4").exit_code == 0);
    const auto began = std::chrono::steady_clock::now();
    REQUIRE(run(train + "whole").exit_code == 0);
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  }
  ~World() { fs::remove_all(root); }

  Outcome run(const std::string& command, const std::string& environment = "") const {
    const bool makes_data = command.starts_with("make");
    return run_program(root, command + (makes_data ? "" : " --threads 2 --device cpu"), environment);
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

bool says(const Outcome& outcome, const std::string& text) { return outcome.error.find(text) != std::string::npos; }

std::int64_t states_in(const fs::path& run) {
  const auto files = shard_files(run);
  return std::ranges::count_if(files, [](const auto& file) { return file.first.ends_with(".state.safetensors"); });
}

}  // namespace

TEST_CASE("parallel shards: interrupted and killed, and gone on with by other numbers, to the same bytes") {
  const auto whole = shard_files(world().root / "whole");
  const Outcome interrupted =
      world().run(world().train + "halted --parallel-shards 2",
                  fmt::format("timeout --foreground --preserve-status -s INT {:.2f}", world().seconds / 5));
  CHECK(interrupted.exit_code == 1);
  CHECK(says(interrupted, "interrupted in shard "));
  CHECK(says(interrupted, " (and 1 beside it); train_sisa --out halted --resume continues"));
  CHECK(std::ranges::count(interrupted.error, '\n') == 1);
  CHECK(states_in(world().root / "halted") == 2);
  const std::string resume = "train_sisa --out halted --resume --quiet";
  for (const int parallel : {3, 4, 2}) {
    const Outcome killed = world().run(fmt::format("{} --parallel-shards {}", resume, parallel),
                                       fmt::format("timeout -s KILL {:.2f}", world().seconds / 8));
    CHECK(killed.exit_code == -1);
  }
  CHECK_FALSE(SisaRun::open(world().root / "halted").work().nothing_to_do());
  CHECK(world().run(fmt::format("{} --parallel-shards 9 --json result.json", resume)).exit_code == 0);
  CHECK(shard_files(world().root / "halted") == whole);
  const auto result = nlohmann::json::parse(slurp(world().root / "result.json"));
  CHECK(result.at("configuration").at("parallel-shards") == 9);
  CHECK(result.at("cost").at("sample_passes").get<std::int64_t>() > 0);
}

TEST_CASE("parallel shards: a request, its plan, and the bytes of a retraining") {
  const fs::path run = world().copy();
  const std::string forget = "range:3-4,range:24-40,range:80-81";
  const std::string request = "unlearn_sisa --run run --parallel-shards 2 --json {}.json --forget " + forget;
  CHECK(world().run(fmt::format(fmt::runtime(request), "dry") + " --dry-run").exit_code == 0);
  CHECK(world().run(fmt::format(fmt::runtime(request), "done")).exit_code == 0);
  CHECK(world().run(world().train + "control --exclude " + forget).exit_code == 0);
  CHECK(shard_files(run) == shard_files(world().root / "control"));
  const auto dry = nlohmann::json::parse(slurp(world().root / "dry.json"));
  const auto done = nlohmann::json::parse(slurp(world().root / "done.json"));
  CHECK(dry.at("plan") == done.at("plan"));
  CHECK(dry.at("estimate").at("seconds").get<double>() > 0);
  CHECK(done.at("cost").at("sample_passes") == dry.at("plan").at("sample_passes"));
}

TEST_CASE("parallel shards: damage or divergence in one stops all, and the run is resumed") {
  const fs::path run = world().copy();
  const std::string first = "shard-1/stage-1.safetensors";
  std::string bytes = slurp(run / first);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 4);
  spill(run / first, bytes);
  // The second slice of shard 1, whose stage begins with what is damaged, and of shards 2 and 3.
  const std::string forget = "range:40-41,range:64-65,range:90-91";
  const Outcome damaged = world().run("unlearn_sisa --run run --parallel-shards 3 --quiet --forget " + forget);
  CHECK(damaged.exit_code == 1);
  CHECK(says(damaged, first + ": damaged"));
  CHECK(says(damaged, "unlearn_sisa --run run --resume"));
  CHECK(std::ranges::count(damaged.error, '\n') == 1);
  CHECK(states_in(run) == 2);
  CHECK(world().run("unlearn_sisa --run run --resume --quiet --parallel-shards 2").exit_code == 0);
  const auto resumed = shard_files(run);
  world().copy();
  CHECK(world().run("unlearn_sisa --run run --quiet --forget " + forget).exit_code == 0);
  CHECK(shard_files(run) == resumed);

  // Both diverge, or one and the other is stopped: one line either way, and another recipe serves the request.
  std::map<std::string, std::string> served;
  for (const int parallel : {1, 2}) {
    CAPTURE(parallel);
    world().copy();
    for (const int shard : {0, 3}) fs::remove(run / fmt::format("shard-{}/stage-2.safetensors", shard));
    const std::string resume = fmt::format("unlearn_sisa --run run --resume --quiet --parallel-shards {}", parallel);
    const Outcome diverged = world().run(resume + " --lr 1e30");
    CAPTURE(diverged.error);
    CHECK(diverged.exit_code == 1);
    CHECK(says(diverged, "the loss is"));
    CHECK(says(diverged, "unlearn_sisa --run run --resume --lr"));
    CHECK(std::ranges::count(diverged.error, '\n') == 1);
    CHECK(world().run(resume + " --lr 0.02").exit_code == 0);
    if (parallel == 1) served = shard_files(run);
    CHECK(shard_files(run) == served);
    CHECK(shard_files(run) != shard_files(world().root / "whole"));
  }
}
