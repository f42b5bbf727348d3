// The study's pre-trained ResNet56 scores what it scores elsewhere, and Python reads what we write.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>

#include "data/dataset.h"
#include "engine/base/file.h"
#include "engine/image_set.h"
#include "engine/prediction.h"
#include "golden.h"
#include "models/registry.h"
#include "models/weights.h"
#include "shared_data.h"

namespace nepenthe::tests {
namespace {

TEST_CASE("checkpoint: the pre-trained ResNet56 on CIFAR-100's test pictures") {
  const auto weights = shared_data("weights/cifar100_resnet56-f2eff4c8.pt");
  const auto folder = shared_data("cifar-100-binary");
  if (!weights || !folder) return;
  // All 10 000 with NEPENTHE_FULL_TESTS: 72.63 % and 91.94 % as published; else the first 2000, with the counts that
  // PyTorch has on them (bench/peers/cifar_resnet.py, fp32).
  const bool full = std::getenv("NEPENTHE_FULL_TESTS") != nullptr;
  if (!full && test_device().kind != "cpu") {
    MESSAGE("skipped: minutes on an emulated GPU; NEPENTHE_FULL_TESTS=1 runs it");
    return;
  }
  Device device(test_device());
  const Dataset data = read_dataset(*folder);
  REQUIRE(data.test.count() == 10000);
  const ImageSet images(device, data.test.pixels, data.test.labels, {data.normalization});
  const auto network = std::make_unique<ModelState>(device, make_architecture("resnet56", data.classes));
  load_weights(*weights, *network);
  std::vector<std::int32_t> ids(full ? 10000 : 2000);
  std::iota(ids.begin(), ids.end(), 0);
  Observer silent;
  const Predictions predictions = predict(*network, images, ids, 250, "", silent);
  const auto top1 = std::ranges::count_if(predictions.ranks, [](int rank) { return rank < 1; });
  const auto top5 = std::ranges::count_if(predictions.ranks, [](int rank) { return rank < 5; });
  const double mean_loss =
      std::accumulate(predictions.losses.begin(), predictions.losses.end(), 0.0) / static_cast<double>(ids.size());
  MESSAGE(ids.size(), " pictures: top-1 ", top1, ", top-5 ", top5, ", mean loss ", mean_loss);
  if (full) {
    CHECK(std::abs(static_cast<double>(top1) / 100 - 72.63) <= 0.02);
    CHECK(std::abs(static_cast<double>(top5) / 100 - 91.94) <= 0.02);
  } else {
    CHECK(std::abs(top1 - 1455) <= 1);
    CHECK(std::abs(top5 - 1847) <= 1);
    CHECK(mean_loss == doctest::Approx(1.2758828).epsilon(1e-5));
  }
}

TEST_CASE("checkpoint: the safetensors package reads our file, with the same bytes in every tensor") {
  const char* const python = std::getenv("NEPENTHE_PYTHON");
  if (python == nullptr) {
    MESSAGE("skipped: NEPENTHE_PYTHON names no Python with numpy and safetensors");
    return;
  }
  Device device(test_device());
  const auto network = std::make_unique<ModelState>(device, make_architecture("resnet20", 100));
  network->initialize({.seed = 1});
  StateDict state = network->state_dict();
  const std::vector<std::int64_t> steps{-3, 1LL << 60};
  state.add("steps", HostTensor::from({2}, steps));
  state.add("scalar", HostTensor::from({}, std::span(steps).first(1)));
  state.add("none", HostTensor::from({0, 3}, std::span<const float>()));
  state.metadata = {{"note", "line one\n\"two\" \\ \t é"}, {"seed", "1"}};
  const TemporaryFolder folder;
  const auto path = folder / "weights.safetensors";
  write_safetensors(path, state);

  const std::string command =
      std::string("'") + python + "' '" NEPENTHE_GOLDEN_DIR "/check_safetensors.py' '" + path.string() + "'";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
  REQUIRE(pipe != nullptr);
  std::string output;
  std::array<char, 4096> part{};
  while (const std::size_t got = std::fread(part.data(), 1, part.size(), pipe.get())) output.append(part.data(), got);
  const nlohmann::json answer = nlohmann::json::parse(output, nullptr, false);
  REQUIRE_FALSE(answer.is_discarded());  // else Python's own words are above
  const nlohmann::json& file = answer.at(path.string());
  CHECK(file.at("metadata").get<std::map<std::string, std::string>>() == state.metadata);
  CHECK(file.at("tensors").size() == state.entries.size());
  for (const auto& [tensor_name, tensor] : state.entries) {
    CAPTURE(tensor_name);
    const nlohmann::json& theirs = file.at("tensors").at(tensor_name);
    CHECK(theirs.at("dtype") == std::string(name(tensor.dtype)));
    CHECK(theirs.at("shape").get<std::vector<std::int64_t>>() == tensor.shape);
    CHECK(theirs.at("sha256") == sha256_hex(tensor.bytes));
  }
}

}  // namespace
}  // namespace nepenthe::tests
