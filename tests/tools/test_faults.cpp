// The rule of acceptance under faults: a deletion request whose program finds no space, or is killed, at any of its
// changes to the run's folder has either left no trace, or is pending and is served by --resume to the very bytes.
#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tools/programs.h"
#include "unlearning/methods/sisa_run.h"

namespace fs = std::filesystem;
using namespace nepenthe;
using namespace nepenthe::tests;

namespace {

/// The last slice of shard 0, whose stage is skipped then, and a sample of the first of shard 1.
const std::string spec = "range:12-24,range:24-25";

struct World {
  fs::path root = fs::temp_directory_path() / ("nepenthe-faults-" + std::to_string(getpid()));
  std::map<std::string, std::string> before, after;  // of a request without a fault
  std::vector<std::int32_t> ids;
  std::string journal;

  World() {
    fs::remove_all(root);
    fs::create_directories(root);
    const std::string train =
        "train_sisa --data data --model resnet20 --shards 2 --slices 2 --epochs 1,1 --batch 16 --threads 1 --quiet ";
    REQUIRE(run_program(root, "make_synthetic_data --out data --train 48 --test 12 --classes 4").exit_code == 0);
    REQUIRE(run_program(root, train + "--out whole").exit_code == 0);
    fs::copy(root / "whole", root / "forgot", fs::copy_options::recursive);
    REQUIRE(run_program(root, "unlearn_sisa --run forgot --threads 1 --quiet --forget " + spec).exit_code == 0);
    before = shard_files(root / "whole");
    after = shard_files(root / "forgot");
    ids = SisaRun::open(root / "forgot").forgotten();
    journal = slurp(root / "whole" / "manifest.jsonl");
    REQUIRE(ids.size() == 13);
    REQUIRE(before != after);
  }
  ~World() { fs::remove_all(root); }
};

enum class Result { served, refused, pending };

/// The request on a fresh copy of the run, with the fault at change number `at`.
Result request_with_fault(const World& world, const std::string& mode, int at) {
  const fs::path folder = world.root / mode;
  fs::remove_all(folder);
  fs::create_directories(folder);
  fs::copy(world.root / "whole", folder / "run", fs::copy_options::recursive);
  const std::string run = " --run " + (folder / "run").string() + " --threads 1 --quiet ";
  const Outcome outcome =
      run_program(folder, "unlearn_sisa" + run + "--forget " + spec,
                  "ASAN_OPTIONS=verify_asan_link_order=0 LD_PRELOAD=" NEPENTHE_FAULT_LIBRARY " FAULT_FOLDER=" +
                      (folder / "run").string() + " FAULT_COUNT=" + (folder / "count").string() +
                      " FAULT_MODE=" + mode + " FAULT_AT=" + std::to_string(at));
  CAPTURE(mode);
  CAPTURE(at);
  CAPTURE(outcome.error);
  const bool faulty = !fs::exists(folder / "count") || std::stoi(slurp(folder / "count")) >= at;
  if (!faulty) {
    CHECK(outcome.exit_code == 0);
    CHECK(shard_files(folder / "run") == world.after);
    return Result::served;
  }
  CHECK(outcome.exit_code == (mode == "kill" ? -1 : 1));
  if (mode != "kill") CHECK(outcome.error.find("No space left on device") != std::string::npos);

  const SisaRun found = SisaRun::open(folder / "run");
  const bool accepted = !found.forgotten().empty();
  const bool finished = found.work().nothing_to_do();
  CHECK(run_program(folder, "eval_model" + run).exit_code == (finished ? 0 : 1));
  CHECK(run_program(folder, "unlearn_sisa" + run + "--dry-run --forget range:0-1").exit_code == (finished ? 0 : 1));
  if (accepted) {
    CHECK(found.forgotten() == world.ids);
  } else {
    CHECK(finished);
    CHECK(shard_files(folder / "run") == world.before);
  }
  const Outcome resumed = run_program(folder, "unlearn_sisa" + run + "--resume");
  CAPTURE(resumed.error);
  CHECK(resumed.exit_code == 0);
  CHECK(shard_files(folder / "run") == (accepted ? world.after : world.before));
  CHECK(SisaRun::open(folder / "run").forgotten() == found.forgotten());
  if (!accepted) {
    CHECK(resumed.out.find(" 0 sample passes") != std::string::npos);
    CHECK(slurp(folder / "run" / "manifest.jsonl") == world.journal);
  }
  return accepted ? Result::pending : Result::refused;
}

}  // namespace

TEST_CASE("a request is refused without a trace or served to the end, whichever of its changes fails") {
  const World world;
  for (const std::string mode : {"once", "from", "kill"}) {
    int refused = 0, pending = 0;
    Result result = Result::refused;
    for (int at = 1; result != Result::served && at < 200; ++at) {
      result = request_with_fault(world, mode, at);
      refused += result == Result::refused;
      pending += result == Result::pending;
      // Refused up to a point, and from there on accepted.
      if (pending > 0) CHECK(result != Result::refused);
    }
    CHECK(result == Result::served);
    CHECK(refused >= 5);
    CHECK(pending > 20);
    MESSAGE(mode << ": refused at " << refused << " changes, pending at " << pending);
  }
}
