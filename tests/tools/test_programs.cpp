// The programs as a person meets them: exit codes, the one line of an error, what is left behind, and the JSON.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "engine/base/file.h"
#include "tools/programs.h"

namespace fs = std::filesystem;
using nepenthe::sha256_file;
using nepenthe::tests::Outcome;
using nepenthe::tests::slurp;

namespace {

/// A folder of its own for this process, with a small data set and a small run in it.
struct World {
  fs::path root = fs::temp_directory_path() / ("nepenthe-programs-" + std::to_string(getpid()));

  World() {
    fs::remove_all(root);
    fs::create_directories(root);
    REQUIRE(run("make_synthetic_data --out data --train 60 --test 20 --classes 4").exit_code == 0);
    REQUIRE(run("train_model --data data --model resnet20 --epochs 1 --out model.safetensors --quiet").exit_code == 0);
    REQUIRE(
        run("train_sisa --data data --model resnet20 --shards 2 --slices 2 --epochs 1,1 --batch 16 --out run --quiet")
            .exit_code == 0);
  }
  ~World() { fs::remove_all(root); }

  /// Runs a program in the folder, given its name and arguments.
  Outcome run(const std::string& command, const fs::path& programs = NEPENTHE_BIN_DIR) const {
    return nepenthe::tests::run_program(root, command, "", programs);
  }

  /// Everything in the folder, with the files' digests.
  std::set<std::string> contents() const {
    std::set<std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      all.insert(fmt::format("{} {}", entry.path().string(), entry.is_regular_file() ? sha256_file(entry.path()) : ""));
    }
    return all;
  }
};

World& world() {
  static World one;
  return one;
}

/// The command fails with this code, with one line that holds these words, and changes nothing.
void check_refused(const std::string& command, int exit_code, std::initializer_list<const char*> words,
                   const fs::path& programs = NEPENTHE_BIN_DIR) {
  CAPTURE(command);
  const auto before = world().contents();
  const Outcome outcome = world().run(command + " --quiet", programs);
  CAPTURE(outcome.error);
  CHECK(outcome.exit_code == exit_code);
  CHECK(outcome.error.starts_with("error: "));
  CHECK(std::ranges::count(outcome.error, '\n') == 1);
  for (const char* word : words) CHECK(outcome.error.find(word) != std::string::npos);
  CHECK(world().contents() == before);
}

/// A copy of the data folder with a change, for the lifetime of the object.
struct ChangedData {
  fs::path path = world().root / "changed";
  ChangedData() { fs::copy(world().root / "data", path); }
  ~ChangedData() { fs::remove_all(path); }
  fs::path operator/(const char* name) const { return path / name; }
};

void write(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

const std::string eval = "eval_model --model resnet20 --weights model.safetensors --data ";

const fs::path cuda_module = fs::path(NEPENTHE_BIN_DIR).parent_path() / "lib/nepenthe_cuda.so";

/// A program apart from the build, for the lifetime of the object, with the CUDA module that it is given.
struct Installation {
  fs::path root = world().root / "installed", bin = root / "bin", module = root / "lib/nepenthe_cuda.so";
  Installation() {
    fs::create_directories(bin);
    fs::create_directories(module.parent_path());
    fs::copy(fs::path(NEPENTHE_BIN_DIR) / "eval_model", bin);
  }
  ~Installation() { fs::remove_all(root); }
};

}  // namespace

TEST_CASE("help and version") {
  for (const char* program : {"make_synthetic_data", "train_model", "train_sisa", "unlearn_sisa", "unlearn_finetune",
                              "eval_model", "eval_mia", "predict", "convert_weights", "bench_step", "run_study"}) {
    CAPTURE(program);
    const Outcome help = world().run(std::string(program) + " --help");
    CHECK(help.exit_code == 0);
    CHECK(help.out.find("--json") != std::string::npos);
    CHECK(world().run(std::string(program) + " --version").exit_code == 0);
    CHECK(world().run(std::string(program) + " --no-such-option").exit_code == 2);
  }
}

TEST_CASE("results as JSON") {
  CHECK(world().run(eval + "data --split test,train --json result.json --quiet").exit_code == 0);
  const auto json = nlohmann::json::parse(slurp(world().root / "result.json"));
  CHECK(json.at("splits").at("test").at("count") == 20);
  CHECK(json.at("splits").at("train").at("count") == 60);
  for (const char* key : {"program", "version", "configuration", "seed", "device", "precision"})
    CHECK(json.contains(key));
  CHECK(json.at("configuration").at("model") == "resnet20");

  CHECK(world().run("eval_model --run run --split test --json result.json --quiet").exit_code == 0);
  const auto run = nlohmann::json::parse(slurp(world().root / "result.json"));
  CHECK(run.at("shards")[1].at("splits").at("test").at("count") == 20);
  CHECK(run.at("majority_vote").at("test").at("loss").is_null());
  CHECK(run.at("mean_posterior").at("test").at("loss") > 0);

  CHECK(world().run("eval_mia --run run --forget range:0-30 --json result.json --quiet").exit_code == 0);
  const auto mia = nlohmann::json::parse(slurp(world().root / "result.json"));
  CHECK(mia.at("shards").size() == 2);
  CHECK(mia.at("shards")[0].at("mia").at("scores").size() == 10);
  CHECK(mia.at("shards")[0].at("mia_own").is_object());
  CHECK(mia.at("shards")[1].at("mia_own").is_null());
  CHECK(mia.at("shards")[1].contains("mia_own_reason"));
  CHECK(mia.at("ensemble").contains("auc"));

  CHECK(world().run("unlearn_sisa --run run --forget range:0-3 --dry-run --json result.json --quiet").exit_code == 0);
  const auto plan = nlohmann::json::parse(slurp(world().root / "result.json"));
  CHECK(plan.at("plan").at("sample_passes") == 12 + 27);
  for (const std::string mode : {"train", "eval"}) {
    CAPTURE(mode);
    REQUIRE(world()
                .run("bench_step --model resnet20 --batch 4 --steps 3 --warmup 1 --profile --json result.json --quiet "
                     "--mode " +
                     mode)
                .exit_code == 0);
    const auto said = nlohmann::json::parse(slurp(world().root / "result.json"));
    CHECK(said.at("profile").at("conv2d_forward").at("ranges") == 21);
    CHECK(said.at("profile").at("conv2d_forward").at("milliseconds") > 0);
    CHECK(said.at("profile").contains("conv2d_backward_data") == (mode == "train"));
  }
  const auto bench = nlohmann::json::parse(slurp(world().root / "result.json")).at("bench");
  CHECK(bench.at("step_ms").at("median") > 0);
  fs::remove(world().root / "result.json");
}

TEST_CASE("per-sample files") {
  CHECK(world().run("eval_model --run run --losses losses --logits logits --quiet").exit_code == 0);
  for (const char* name : {"losses/shard-0/test.npy", "losses/mean_posterior/test.npy", "logits/shard-1/test.npy"}) {
    CHECK(fs::exists(world().root / name));
  }
  CHECK(world()
            .run("eval_mia --member-losses losses/shard-0/test.npy --nonmember-losses losses/shard-1/test.npy --quiet")
            .exit_code == 0);
  fs::remove_all(world().root / "losses");
  fs::remove_all(world().root / "logits");
}

TEST_CASE("damaged and foreign data") {
  check_refused(eval + "nowhere", 2, {"nowhere"});
  check_refused(eval + "run", 2, {"train.bin"});
  const ChangedData changed;
  const auto size = fs::file_size(changed / "train.bin");
  SUBCASE("truncated") {
    fs::resize_file(changed / "train.bin", size - 1);
    check_refused(eval + "changed", 1, {"train.bin", "3074"});
  }
  SUBCASE("oversized") {
    write(changed / "test.bin", slurp(changed / "test.bin") + "x");
    check_refused(eval + "changed", 1, {"test.bin", "3074"});
  }
  SUBCASE("missing") {
    fs::remove(changed / "test.bin");
    check_refused(eval + "changed", 2, {"test.bin"});
  }
  SUBCASE("label out of range") {
    std::string bytes = slurp(changed / "train.bin");
    bytes[3074 * 7 + 1] = 99;
    write(changed / "train.bin", bytes);
    check_refused(eval + "changed", 1, {"train.bin", "99", "7"});
  }
  SUBCASE("other data than the run's") {
    std::string bytes = slurp(changed / "train.bin");
    bytes[100] = static_cast<char>(bytes[100] ^ 1);
    write(changed / "train.bin", bytes);
    check_refused("unlearn_sisa --run run --forget range:0-3 --data changed", 2, {"not the data of this run"});
  }
}

TEST_CASE("wrong forget specifications") {
  const std::string unlearn = "unlearn_sisa --run run --forget ";
  write(world().root / "text.ids", "1\ntwo\n");
  write(world().root / "negative.ids", "1\n-2\n");
  write(world().root / "large.ids", "60\n");
  write(world().root / "empty.ids", "");
  check_refused(unlearn + "ids:text.ids", 2, {"text.ids", "line 2"});
  check_refused(unlearn + "ids:negative.ids", 2, {"negative.ids", "-2"});
  check_refused(unlearn + "ids:large.ids", 2, {"large.ids", "60"});
  check_refused(unlearn + "ids:empty.ids", 2, {"empty.ids"});
  check_refused(unlearn + "ids:missing.ids", 2, {"missing.ids"});
  check_refused(unlearn + "range:5-5", 2, {"range:5-5"});
  check_refused(unlearn + "range:0-60", 2, {"none is left"});
  check_refused(unlearn + "class:no-such-class", 2, {"no-such-class"});
  check_refused(unlearn + "random:0", 2, {"random:0"});
  check_refused(unlearn + "everything", 2, {"everything"});
  check_refused("unlearn_sisa --run run", 2, {"--forget"});
  check_refused("train_model --data data --model resnet20 --epochs 1 --out x.safetensors --exclude range:0-60", 2,
                {"none is left"});
  for (const char* name : {"text.ids", "negative.ids", "large.ids", "empty.ids"}) fs::remove(world().root / name);
}

TEST_CASE("impossible runs") {
  const std::string train = "train_sisa --data data --model resnet20 --out new ";
  check_refused(train + "--shards 61", 2, {"61"});
  check_refused(train + "--shards 20 --slices 5", 2, {"slice"});
  check_refused(train + "--slices 3", 2, {"--epochs"});
  check_refused(train + "--lr -1", 2, {"--lr"});
  check_refused(train + "--batch 0", 2, {"--batch"});
  check_refused("train_sisa --data data --model resnet21 --out new", 2, {"resnet21", "resnet20"});
  check_refused("train_sisa --data data --model resnet20 --out run", 2, {"exists"});
  check_refused("train_model --data data --out model.safetensors", 2, {"exists"});
  check_refused("train_model --data data --out nowhere/model.safetensors", 2, {"nowhere"});
  check_refused("train_model --data data --model resnet20 --out new.safetensors --resume", 2, {"--resume"});
  check_refused("train_sisa --out run --resume --lr 0.5", 2, {"--lr"});
  check_refused("train_sisa --out run --resume --exclude range:0-3", 2, {"--exclude"});
  check_refused(eval + "data --split retain --forget range:0-60", 2, {"none is left"});
  check_refused(eval + "data --threads 5000", 2, {"5000"});
  check_refused(eval + "data --seed -1", 2, {"--seed"});
  check_refused("eval_model --run nowhere", 2, {"nowhere"});
  check_refused(eval + "data --split training", 2, {"training"});
  check_refused(eval + "data --split forget", 2, {"--forget"});
  check_refused(eval + "data --device cuda", 1, {"CUDA"});
  check_refused(eval + "data --device tpu", 2, {"tpu"});
  check_refused(eval + "data --precision tf32", 2, {"tf32", "bf16"});
  check_refused(eval + "data --threads -1", 2, {"threads"});
  check_refused(eval + "data --json nowhere/x.json", 2, {"nowhere"});
  check_refused("train_model --data data --model resnet20 --epochs 3 --lr 1e30 --out new.safetensors", 1,
                {"loss", "epoch"});
}

TEST_CASE("programs need nothing of CUDA to start") {
  const std::string program = NEPENTHE_BIN_DIR "/train_sisa";
  const fs::path list = world().root / "libraries.txt";
  REQUIRE(std::system(("ldd '" + program + "' >'" + list.string() + "'").c_str()) == 0);
  const std::string libraries = slurp(list);
  fs::remove(list);
  CHECK(libraries.find("libc.so") != std::string::npos);
  for (const char* name : {"libcuda", "libcudart", "libcudnn", "libcublas"}) {
    CHECK(libraries.find(name) == std::string::npos);
  }
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__)
  std::string command = program + " --version >/dev/null";
  char shell[] = "sh", option[] = "-c";
  char* const arguments[] = {shell, option, command.data(), nullptr};
  double seconds = 1;
  long kilobytes = 0;
  for (int run = 0; run < 20; ++run) {  // the best of them: others use this machine too
    const auto begin = std::chrono::steady_clock::now();
    pid_t child = 0;
    REQUIRE(::posix_spawn(&child, "/bin/sh", nullptr, nullptr, arguments, environ) == 0);
    int status = 0;
    rusage use{};
    REQUIRE(::wait4(child, &status, 0, &use) == child);
    REQUIRE(status == 0);
    seconds = std::min(seconds, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    kilobytes = use.ru_maxrss;
  }
  rusage own{};  // a process begins with the peak of the one that spawned it
  REQUIRE(::getrusage(RUSAGE_SELF, &own) == 0);
  CAPTURE(seconds);
  CAPTURE(kilobytes);
  CHECK(seconds < 0.02);
  CHECK(kilobytes < own.ru_maxrss + 30 * 1024);  // CUDA's libraries take hundreds of MiB
#endif
}

TEST_CASE("a CUDA backend that is not there or cannot be loaded is named in one line") {
  const Installation installed;
  const std::string on_cuda = eval + "data --device cuda", automatic = eval + "data --device auto";
  check_refused(on_cuda, 1, {"this build has no CUDA backend", "installed/lib/nepenthe_cuda.so"}, installed.bin);
  const Outcome without = world().run(automatic, installed.bin);
  CHECK(without.exit_code == 0);
  CHECK(without.error.find("device: CPU") != std::string::npos);
  CHECK(without.error.find("this build has no CUDA backend") != std::string::npos);
  write(installed.module, "no library at all");
  check_refused(on_cuda, 1, {"cannot be loaded", "nepenthe_cuda.so"}, installed.bin);

  if (!fs::exists(cuda_module)) {
    MESSAGE("skipped: this build has no CUDA backend whose libraries could be missing");
    return;
  }
  const std::string module = slurp(cuda_module);
  std::string lacking = module;
  const std::string needed = "libcudnn.so";
  const std::size_t at = lacking.find(needed);
  REQUIRE(at != std::string::npos);
  lacking.replace(at, needed.size(), "libabsent.s");
  write(installed.module, lacking);
  check_refused(on_cuda, 1, {"cannot be loaded", "libabsent.s"}, installed.bin);
  CHECK(world().run(automatic + " --quiet", installed.bin).exit_code == 0);

  // The stamp of its build: the only string of 64 hexadecimal digits.
  std::string foreign = module;
  std::size_t digits = 0, end = 0;
  while (digits != 64 || foreign[end] != '\0') {
    REQUIRE(end + 1 < foreign.size());
    digits = std::isxdigit(static_cast<unsigned char>(foreign[end++])) ? digits + 1 : 0;
  }
  foreign[end - 1] = foreign[end - 1] == '0' ? '1' : '0';
  write(installed.module, foreign);
  check_refused(on_cuda, 1, {"of another build", "nepenthe_cuda.so"}, installed.bin);
}

TEST_CASE("wrong weights") {
  const auto evaluate = [](const std::string& file, int exit_code, std::initializer_list<const char*> words) {
    check_refused("eval_model --model resnet20 --data data --weights " + file, exit_code, words);
  };
  check_refused("eval_model --model resnet32 --data data --weights model.safetensors", 1,
                {"model.safetensors", "resnet32"});
  const std::string good = slurp(world().root / "model.safetensors");
  const auto variant = [](const std::string& bytes) { write(world().root / "bad.safetensors", bytes); };
  variant(good.substr(0, good.size() / 2));
  evaluate("bad.safetensors", 1, {"bad.safetensors"});
  variant(std::string("\xff\xff\xff\xff\xff\x7f\0\0", 8) + good.substr(8));
  evaluate("bad.safetensors", 1, {"bad.safetensors"});
  variant("");
  evaluate("bad.safetensors", 1, {"bad.safetensors"});
  fs::remove(world().root / "bad.safetensors");
  evaluate("missing.safetensors", 2, {"missing.safetensors"});
  const fs::path golden = fs::path(NEPENTHE_GOLDEN_DIR) / "checkpoints";
  evaluate(fmt::format("'{}'", (golden / "evil.pt").string()), 1,
           {"evil.pt", "'conv1.weight' (an object of os.system); a dict of tensors is expected"});
  evaluate(fmt::format("'{}'", (golden / "legacy.pt").string()), 1, {"legacy.pt"});
  std::string corrupt = slurp(golden / "plain.pt");
  corrupt[corrupt.size() / 2] = static_cast<char>(corrupt[corrupt.size() / 2] ^ 0x55);
  write(world().root / "corrupt.pt", corrupt);
  evaluate("corrupt.pt", 1, {"corrupt.pt"});
  write(world().root / "corrupt.pt", "not a zip at all");
  evaluate("corrupt.pt", 1, {"corrupt.pt"});
  fs::remove(world().root / "corrupt.pt");
  CHECK_FALSE(fs::exists("/tmp/nepenthe_evil"));
}

TEST_CASE("weights travel in both directions") {
  CHECK(world().run("convert_weights model.safetensors there.pt").exit_code == 0);
  CHECK(world().run("convert_weights there.pt back.safetensors").exit_code == 0);
  const auto table = [](const std::string& weights) {  // without the time
    const Outcome outcome = world().run("eval_model --model resnet20 --data data --quiet --weights " + weights);
    return outcome.out.substr(0, outcome.out.find("evaluated"));
  };
  CHECK(table("model.safetensors").find("test") != std::string::npos);
  CHECK(table("model.safetensors") == table("there.pt"));
  CHECK(table("model.safetensors") == table("back.safetensors"));
  CHECK(world().run("convert_weights there.pt --list").out.find("layer3.2.bn2.running_var") != std::string::npos);
  check_refused("convert_weights model.safetensors there.pt", 2, {"exists"});
  check_refused("convert_weights model.safetensors there.h5", 2, {".h5"});
  fs::remove(world().root / "there.pt");
  fs::remove(world().root / "back.safetensors");
}

TEST_CASE("a full disk leaves no half-written file") {
  const fs::path small = world().root / "small";
  fs::create_directory(small);
  if (::mount("tmpfs", small.c_str(), "tmpfs", 0, "size=512k") != 0) {
    MESSAGE("skipped: this user may not mount a small file system");
    fs::remove(small);
    return;
  }
  check_refused("train_model --data data --model resnet20 --epochs 1 --out small/model.safetensors", 1,
                {"No space left"});
  check_refused("train_sisa --data data --model resnet20 --out small/run", 1, {"No space left"});
  check_refused("make_synthetic_data --out small/data --train 1000", 1, {"No space left"});
  ::umount(small.c_str());
  fs::remove(small);
}
