// Arguments that are refused: each in one line that names the option and what would be right, with exit code 2.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "tools/programs.h"

namespace fs = std::filesystem;
using namespace nepenthe::tests;

namespace {

struct Folder {
  fs::path path = fs::temp_directory_path() / fmt::format("nepenthe-arguments-{}", getpid());
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
};

/// The one line of a program that refuses its arguments.
std::string refusal(const std::string& command) {
  const Folder folder;
  const Outcome outcome = run_program(folder.path, command);
  CAPTURE(command);
  CHECK(outcome.exit_code == 2);
  CHECK(outcome.out.empty());
  CHECK(std::ranges::count(outcome.error, '\n') == 1);
  CHECK(outcome.error.size() < 300);
  CHECK(fs::is_empty(folder.path));
  return outcome.error;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a number below its range is answered with the smallest that is right") {
  for (const auto& [command, option, smallest] :
       {std::tuple("train_sisa --out r --data d", "--batch", 1),
        std::tuple("train_sisa --out r --data d", "--shards", 1),
        std::tuple("train_sisa --out r --data d", "--slices", 1),
        std::tuple("train_sisa --out r --data d", "--parallel-shards", 1),
        std::tuple("unlearn_sisa --run r --resume", "--parallel-shards", 1),
        std::tuple("train_sisa --out r --data d", "--threads", 0),
        std::tuple("train_model --out o --data d", "--epochs", 1),
        std::tuple("train_model --out o --data d", "--seed", 0),
        std::tuple("run_study --out o --data d", "--epochs", 0), std::tuple("bench_step", "--batch", 1),
        std::tuple("bench_step", "--steps", 1), std::tuple("bench_step", "--warmup", 0),
        std::tuple("bench_step", "--group", 0), std::tuple("make_synthetic_data --out o", "--train", 1),
        std::tuple("make_synthetic_data --out o", "--test", 1),
        std::tuple("make_synthetic_data --out o", "--classes", 1), std::tuple("eval_mia", "--splits", 2),
        std::tuple("tune_convolutions --out o", "--batch", 1),
        std::tuple("tune_convolutions --out o", "--eval-batch", 1)}) {
    CHECK(contains(
        refusal(fmt::format("{} {} {}", command, option, smallest - 1)),
        fmt::format("error: {} {}: a whole number of at least {} would be right", option, smallest - 1, smallest)));
  }
}

TEST_CASE("what is no number of that kind is refused") {
  for (const char* text : {"1.5", "1e3", "0x10", "7seven", "+7", "' 7'", "nan"}) {
    CHECK(contains(refusal(fmt::format("bench_step --batch {}", text)), "a whole number of at least 1 would be right"));
  }
  CHECK(contains(refusal("bench_step --batch 4294967297"), "--batch 4294967297: at most 2147483647 would be right"));
  CHECK(contains(refusal("bench_step --seed 18446744073709551616"), "at most 18446744073709551615 would be right"));
  for (const char* text : {"big", "0,1", "1e", "1.0.0"}) {
    CHECK(contains(refusal(fmt::format("train_sisa --out r --data d --lr {}", text)), "a number such as 0.01"));
  }
}

TEST_CASE("the largest seed is one") {
  const Folder folder;
  CHECK(
      run_program(folder.path, "make_synthetic_data --out d --train 2 --test 2 --classes 2 --seed 18446744073709551615")
          .exit_code == 0);
}

TEST_CASE("empty values and empty parts of lists are refused") {
  for (const char* option :
       {"--threads", "--seed", "--json", "--device", "--data", "--model", "--forget", "--weights"}) {
    CHECK(contains(refusal(fmt::format("eval_model {} ''", option)), fmt::format("{}: its value is empty", option)));
  }
  CHECK(contains(refusal("convert_weights ''"), "in: its value is empty"));
  for (const char* list : {",1,1", "1,,1", "1,1,", ","}) {
    CHECK(contains(refusal(fmt::format("train_sisa --out r --data d --epochs {}", list)),
                   fmt::format("--epochs {}: ", list)));
  }
  CHECK(contains(refusal("train_sisa --out r --data d --epochs 1,0,1"), "at least 1"));
  CHECK(contains(refusal("eval_model --split test,,train"), "--split test,,train: "));
}

TEST_CASE("an unknown option is named before a missing one") {
  CHECK(contains(refusal("train_sisa --shard 3"), "--shard: there is no such option; train_sisa --help lists"));
  CHECK(contains(refusal("train_model stray"), "stray: an argument too many"));
  CHECK(contains(refusal("train_sisa"), "--out is required"));
}

TEST_CASE("an option without its value, or given twice, or a flag with one") {
  CHECK(contains(refusal("bench_step --batch"), "--batch needs one value"));
  CHECK(contains(refusal("bench_step --batch 1 --batch 2"), "--batch needs one value, and is given once"));
  CHECK(contains(refusal("bench_step --quiet=foo"), "--quiet takes no value"));
}

TEST_CASE("one word of a few, and a file that is there") {
  CHECK(contains(refusal("bench_step --device gpu"), "--device: there is no gpu; auto, cpu, cuda would be right"));
  CHECK(contains(refusal("eval_model --model resnet20 --data d --weights none.pt"),
                 "--weights: there is no file none.pt"));
  CHECK(
      contains(refusal("eval_model --model resnet20 --data d --weights /dev/null"), "--weights: /dev/null is no file"));
}

TEST_CASE("a name that is not UTF-8 is refused at the start") {
  CHECK(contains(refusal("make_synthetic_data --out caf\xe9 --train 2 --test 2"),
                 "the argument \"caf\\xe9\" is not UTF-8"));
  const Folder folder;
  fs::create_directories(folder.path / "caf\xe9");
  const Outcome outcome = run_program(folder.path / "caf\xe9", "make_synthetic_data --out d --train 2 --test 2");
  CHECK(outcome.exit_code == 2);
  CHECK(contains(outcome.error, "the current folder"));
  CHECK(run_program(folder.path, "make_synthetic_data --out 'bücher 日本' --train 2 --test 2 --classes 2").exit_code ==
        0);
}

TEST_CASE("control characters of an argument do not reach the terminal") {
  const std::string error = refusal("eval_model --model resnet20 --data d --weights '\x1b[2J\nd'");
  CHECK(contains(error, "\\x1b[2J d"));
}

TEST_CASE("more threads than can be are refused") {
  const Folder folder;
  const Outcome outcome = run_program(folder.path, "bench_step --threads 2000000000 --device cpu");
  CHECK(outcome.exit_code != 0);
  CHECK(outcome.exit_code != -1);
  CHECK(contains(outcome.error, "error: --threads 2000000000: 1 to 1024, or 0 for all, would be right"));
}
