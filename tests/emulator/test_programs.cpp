// Programs with --device cuda, linked to the emulated kernels: what they say where there is no GPU to be used or too
// little of its memory, what tuning leaves, and how much a training step launches.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <utility>

#include "engine/base/file.h"
#include "engine/conv_algorithms_file.h"

namespace {

namespace fs = std::filesystem;

struct Result {
  int exit_code;
  std::string errors;
};

struct Folder {
  fs::path path = fs::temp_directory_path() / ("nepenthe-emulated-" + std::to_string(getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
};

const fs::path& folder() {
  static const Folder made;
  return made.path;
}

/// GCOV_ERROR_FILE: where profiles of an older build lie about, its library says so on standard error.
Result run(const std::string& environment, const std::string& command) {
  const fs::path errors = folder() / "errors";
  const std::string line = "GCOV_ERROR_FILE=/dev/null " + environment + " " + NEPENTHE_EMULATED_BIN_DIR + "/" +
                           command + " >/dev/null 2>" + errors.string();
  const int status = std::system(line.c_str());
  std::ifstream file(errors);
  return {WEXITSTATUS(status), {std::istreambuf_iterator<char>(file), {}}};
}

/// --data with its pictures, made once.
std::string data() {
  const fs::path path = folder() / "data";
  if (!fs::exists(path)) {
    REQUIRE(run("", "make_synthetic_data --train 600 --test 20 --classes 5 --out " + path.string()).exit_code == 0);
  }
  return " --data " + path.string();
}

std::string train(const std::string& options) {
  return "train_model --model resnet20 --epochs 1 --device cuda --quiet --out " +
         (folder() / "out.safetensors").string() + data() + " " + options;
}

bool one_line(const std::string& text) { return text.find('\n') == text.size() - 1; }

TEST_CASE("programs: no usable GPU is one line and exit 1, and leaves nothing behind") {
  for (const auto& [environment, message] :
       {std::pair{"NEPENTHE_EMULATOR_DEVICE=none", "no CUDA-capable device"},
        std::pair{"NEPENTHE_EMULATOR_DEVICE=old_driver", "an NVIDIA driver for CUDA"},
        std::pair{"NEPENTHE_EMULATOR_DEVICE=broken", "cudaErrorUnknown"},
        std::pair{"NEPENTHE_EMULATOR_CAPABILITY=70", "compute capability 7.0; 8.0 or later is needed"}}) {
    const Result result = run(environment, train(""));
    CAPTURE(result.errors);
    CHECK(result.exit_code == 1);
    CHECK(result.errors.starts_with("error: --device cuda: "));
    CHECK(result.errors.find(message) != std::string::npos);
    CHECK(one_line(result.errors));
    CHECK_FALSE(fs::exists(folder() / "out.safetensors"));
  }
}

TEST_CASE("programs: too little GPU memory says how much is needed and which batch would fit, and that one does") {
  const std::string small = "NEPENTHE_EMULATOR_MEMORY_MB=160";
  const Result result = run(small, train("--batch 200"));
  CAPTURE(result.errors);
  CHECK(result.exit_code == 1);
  CHECK(one_line(result.errors));
  std::smatch match;
  const std::regex expected(
      "error: training resnet20 with a batch of 200 needs about (\\d+) MiB of GPU memory, (\\d+) MiB "
      "are to be had; a batch of (\\d+) would fit\n");
  REQUIRE(std::regex_match(result.errors, match, expected));
  CHECK(std::stoi(match[1]) > std::stoi(match[2]));
  const int fitting = std::stoi(match[3]);
  CHECK(fitting >= 16);  // more than what was measured
  CHECK(run(small, "bench_step --model resnet20 --device cuda --steps 1 --warmup 0 --group 2 --batch " +
                       std::to_string(fitting))
            .exit_code == 0);
}

/// What the emulator has written of the graphs that a program has instantiated.
int graphs_in(const fs::path& file) {
  std::ifstream in(file);
  return static_cast<int>(std::count(std::istreambuf_iterator<char>(in), {}, '\n'));
}

TEST_CASE("programs: shards side by side on one GPU give the same bytes, and all count where its memory is too small") {
  const std::string data = (folder() / "few").string(),
                    sisa = "train_sisa --model resnet20 --shards 2 --device cuda --quiet --data ";
  REQUIRE(run("", "make_synthetic_data --train 16 --test 2 --classes 2 --out " + data).exit_code == 0);
  for (const char* parallel : {"1", "2"}) {
    const std::string out = (folder() / "run-").string() + parallel, graphs = out + ".graphs";
    CHECK(run("NEPENTHE_EMULATOR_GRAPHS=" + graphs,
              sisa + data + " --slices 2 --epochs 1,1 --batch 2 --parallel-shards " + parallel + " --out " + out)
              .exit_code == 0);
    // A worker captures the step once, in its first stage, whatever it trains after that.
    CHECK(graphs_in(graphs) >= 1);
    CHECK(graphs_in(graphs) <= std::stoi(parallel));
  }
  for (const char* file : {"shard-0/stage-1.safetensors", "shard-0/stage-2.safetensors", "shard-1/stage-1.safetensors",
                           "shard-1/stage-2.safetensors", "conv_algorithms.json"}) {
    CHECK(nepenthe::sha256_file(folder() / "run-1" / file) == nepenthe::sha256_file(folder() / "run-2" / file));
  }
  const Result result =
      run("NEPENTHE_EMULATOR_MEMORY_MB=400", sisa + folder().string() + "/data --slices 1 --epochs 1 --batch 300 " +
                                                 "--parallel-shards 2 --out " + (folder() / "run-3").string());
  CAPTURE(result.errors);
  CHECK(result.exit_code == 1);
  CHECK(one_line(result.errors));
  std::smatch match;
  const std::regex expected(
      "error: training resnet20 with a batch of 300, 2 at once, needs about (\\d+) MiB of GPU memory, (\\d+) MiB "
      "are to be had; a batch of (\\d+) would fit.*\n");
  REQUIRE(std::regex_match(result.errors, match, expected));
  CHECK(std::stoi(match[1]) > std::stoi(match[2]));
  CHECK(std::stoi(match[3]) >= 16);
}

TEST_CASE("programs: engines are tuned, used and refused where they do not fit") {
  const fs::path record = folder() / "conv_algorithms.json";
  REQUIRE(run("", "tune_convolutions --model resnet20 --batch 8 --eval-batch 4 --device cuda --quiet --out " +
                      record.string())
              .exit_code == 0);
  const auto engines = nepenthe::read_conv_algorithms(record);
  CHECK(engines.size() > 20);
  CHECK(engines.contains("forward fp32 n4 h32 w32 c3 k16 r3 s1 p1"));
  const std::string step =
      "bench_step --model resnet20 --batch 8 --steps 1 --warmup 0 --group 1 --device cuda --quiet ";
  CHECK(run("", step + "--conv-algorithms " + record.string()).exit_code == 0);

  auto other = engines;
  for (auto& [convolution, engine] : other) engine.index = 1234567;
  nepenthe::write_conv_algorithms(record, other, "another device");
  const Result refused = run("", step + "--conv-algorithms " + record.string());
  CHECK(refused.exit_code == 1);
  CHECK(one_line(refused.errors));
  CHECK(refused.errors.find("tune") != std::string::npos);

  std::ofstream(record) << "{}";
  const Result damaged = run("", step + "--conv-algorithms " + record.string());
  CHECK(damaged.exit_code == 1);
  CHECK(damaged.errors.find("not a file of convolution algorithms") != std::string::npos);
}

TEST_CASE("programs: a training step of ResNet32 has as many kernels and copies as it is known to have") {
  struct Known {
    const char *precision, *cudnn;
    std::size_t launches;
  };
  // With the plain cuDNN 15 gradients of inputs are added.
  for (const auto& [precision, cudnn, launches] :
       {Known{"fp32", "", 241}, Known{"bf16", "", 241}, Known{"bf16", "plain", 241 + 15}}) {
    CAPTURE(precision);
    CAPTURE(cudnn);
    const fs::path result = folder() / "step.json";
    REQUIRE(
        run("NEPENTHE_FAKE_CUDNN=" + std::string(cudnn),
            "bench_step --model resnet32 --batch 1 --steps 2 --warmup 0 --group 2 --device cuda --quiet --precision " +
                std::string(precision) + " --json " + result.string())
            .exit_code == 0);
    std::ifstream file(result);
    CHECK(nlohmann::json::parse(file).at("bench").at("launches") == launches);
  }
}

}  // namespace
