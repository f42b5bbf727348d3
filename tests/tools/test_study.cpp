// A study as a person meets it: what it writes, going on, a row again, and the commands that each row says.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tools/programs.h"

namespace fs = std::filesystem;
using Json = nlohmann::json;
using nepenthe::sha256_file;
using nepenthe::tests::Outcome;
using nepenthe::tests::slurp;
using nepenthe::tests::spill;

namespace {

/// A study of one small SISA run, unlearned, and one network; two evaluations of each.
struct World {
  fs::path root = fs::temp_directory_path() / fmt::format("nepenthe-study-programs-{}", getpid());
  std::string command = "run_study --data data --out study --only sisa-unlearned,shards-10 --evaluation-seeds 1,2";

  World() {
    fs::remove_all(root);
    fs::create_directories(root);
    REQUIRE(run("make_synthetic_data --out data --train 60 --test 30 --classes 4").exit_code == 0);
    const Outcome made = run(fmt::format("{} --quiet", command));
    CAPTURE(made.error);
    REQUIRE(made.exit_code == 0);
  }
  ~World() { fs::remove_all(root); }

  Outcome run(const std::string& line) const { return nepenthe::tests::run_program(root, line); }
  Json study() const { return Json::parse(slurp(root / "study/study.json")); }
};

World& world() {
  static World one;
  return one;
}

bool says(const std::string& text, const std::string& words) { return text.find(words) != std::string::npos; }

}  // namespace

TEST_CASE("a study writes its report, its tables and every number") {
  for (const char* file : {"report.html", "report.md", "study.json", "tables/records.csv"}) {
    CHECK(fs::exists(world().root / "study" / file));
  }
  const Json study = world().study();
  std::vector<std::string> rows;
  for (const Json& record : study.at("records")) rows.push_back(record.at("row"));
  CHECK(rows == std::vector<std::string>{"sisa@1.1.1", "sisa@1.1.2", "sisa-unlearned@1.1.1", "sisa-unlearned@1.1.2",
                                         "shards-10@1.1.1", "shards-10@1.1.2"});
  CHECK(study.at("command") ==
        "run_study --preset quick --data data --only sisa-unlearned,shards-10 --evaluation-seeds 1,2 --out study");
}

TEST_CASE("the commands of a row make its files and its numbers") {
  const fs::path by_hand = world().root / "by-hand";
  fs::create_directories(by_hand);
  fs::create_directory_symlink(world().root / "data", by_hand / "data");
  fs::create_directory_symlink(world().root / "study", by_hand / "study");
  const Json study = world().study();
  for (const char* row : {"sisa-unlearned@1.1.2", "shards-10@1.1.1", "shards-10@1.1.2"}) {
    Json record;
    for (const Json& one : study.at("records")) {
      if (one.at("row") == row) record = one;
    }
    REQUIRE_FALSE(record.is_null());
    fs::remove(by_hand / "shards-10.safetensors");
    fs::remove(by_hand / "shards-10.safetensors.manifest.jsonl");
    for (const std::string command : record.at("commands")) {
      CAPTURE(command);
      const std::string programs = fmt::format("PATH='{}':$PATH", NEPENTHE_BIN_DIR);
      const std::string options = command.starts_with("cp ")
                                      ? ""
                                      : fmt::format(" --quiet --json {}.json", command.substr(0, command.find(' ')));
      CHECK(std::system(fmt::format("cd '{}' && {} {}{} >/dev/null 2>&1", by_hand.string(), programs, command, options)
                            .c_str()) == 0);
    }
    const std::string name = record.at("experiment").at("name");
    const bool is_run = record.at("experiment").at("method") == "unlearning";
    for (const auto& [file, digest] : record.at("digests").items()) {
      CAPTURE(file);
      CHECK(sha256_file(is_run ? by_hand / name / file : by_hand / file) == digest.get<std::string>());
    }
    const Json evaluation = Json::parse(slurp(by_hand / "eval_model.json"));
    CHECK(evaluation.at(is_run ? "mean_posterior" : "splits") == record.at("whole").at("splits"));
    const Json attack = Json::parse(slurp(by_hand / "eval_mia.json"));
    CHECK(attack.at(is_run ? "ensemble" : "mia") == record.at("whole").at("mia"));
  }
}

TEST_CASE("a row comes again to the bit, and one that was altered does not") {
  const std::string replay = fmt::format("{} --quiet --replay sisa-unlearned@1.1.1", world().command);
  const Outcome same = world().run(replay);
  CAPTURE(same.error);
  CHECK(same.exit_code == 0);
  CHECK(says(same.out, "the same to the bit"));
  for (const auto& entry : fs::directory_iterator(world().root / "study")) {
    CHECK_FALSE(entry.path().filename().string().starts_with("replay"));
  }
  const std::string before = slurp(world().root / "study/study.json");
  Json study = Json::parse(before);
  Json& loss = study["records"][2]["shards"][1]["splits"]["test"]["loss"];
  loss = loss.get<double>() * (1 + 1e-15);
  spill(world().root / "study/study.json", study.dump());
  const Outcome altered = world().run(replay);
  spill(world().root / "study/study.json", before);
  CHECK(altered.exit_code == 1);
  CHECK(says(altered.error, "/shards/1/splits/test/loss"));
}

TEST_CASE("going on makes nothing again, also after a kill") {
  const auto before = nepenthe::tests::files_of(world().root / "study/made");
  const Json numbers = world().study();
  REQUIRE(world().run(fmt::format("{} --quiet --resume", world().command)).exit_code == 0);
  CHECK(nepenthe::tests::files_of(world().root / "study/made") == before);
  CHECK(world().study() == numbers);
  const auto killed = [&](double after, bool resume) {
    return std::system(fmt::format("cd '{}' && PATH='{}':$PATH timeout -s KILL {} run_study --data data --out killed "
                                   "--only shards-10 --quiet{} >/dev/null 2>&1",
                                   world().root.string(), NEPENTHE_BIN_DIR, after, resume ? " --resume" : "")
                           .c_str());
  };
  for (const double after : {0.2, 0.3, 0.4, 0.5}) killed(after, fs::exists(world().root / "killed"));
  REQUIRE(world().run("run_study --data data --out killed --only shards-10 --quiet --resume").exit_code == 0);
  Json again = Json::parse(slurp(world().root / "killed/study.json")).at("records").at(0);
  Json once = numbers.at("records").at(4);
  for (Json* record : {&again, &once}) {
    for (const char* key : {"row", "cost"}) record->erase(key);
  }
  CHECK(again == once);
}

TEST_CASE("a study that cannot be is refused, with what would be right") {
  for (const auto& [options, words] :
       {std::pair("--out study", "exists"), std::pair("--out new --only sisa,other", "it has sisa, sisa-unlearned"),
        std::pair("--out new --weights nowhere", "a folder of weights"),
        std::pair("--out new --forget range:0-60", "none is left"),
        std::pair("--out new --training-seeds 1,1", "each seed once"),
        std::pair("--out new --training-seeds 1,x", "whole number"), std::pair("--out new --preset all", "quick"),
        std::pair("--out study --replay sisa", "the study has the rows sisa@1.1.1")}) {
    const Outcome outcome = world().run(fmt::format("run_study --data data {} --quiet", options));
    CAPTURE(options);
    CAPTURE(outcome.error);
    CHECK(outcome.exit_code == 2);
    CHECK(says(outcome.error, words));
    CHECK_FALSE(fs::exists(world().root / "new"));
  }
  CHECK(world().run("run_study --data data --out new --replay sisa --quiet").exit_code == 1);
  CHECK_FALSE(fs::exists(world().root / "new"));
}
