// A run of format 1, as the version before left it (tests/golden/format1), opens, is completed and forgets: under the
// very lineages that that version wrote.
#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/synthetic.h"
#include "device.h"
#include "engine/base/error.h"
#include "engine/base/random.h"
#include "engine/formats/safetensors.h"
#include "models/registry.h"
#include "unlearning/methods/sisa_run.h"

using namespace nepenthe;
using nepenthe::tests::test_device;
namespace fs = std::filesystem;

namespace {

using Lineages = std::vector<std::vector<std::string>>;

const fs::path golden = fs::path(NEPENTHE_GOLDEN_DIR) / "format1";

std::string slurp(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct EarlierRun {
  fs::path root = fs::temp_directory_path() / ("nepenthe-earlier-" + std::to_string(getpid()));
  fs::path folder = root / "run";
  nlohmann::json lineages = nlohmann::json::parse(slurp(golden / "lineages.json"));
  Dataset dataset;

  explicit EarlierRun(Device& device) {
    fs::remove_all(root);
    fs::create_directories(folder);
    write_synthetic(root / "data", 48, 12, 4, 1);
    dataset = read_dataset(root / "data");
    for (const char* name : {"run.json", "forgotten.json", "manifest.jsonl"}) fs::copy(golden / name, folder / name);
    // The checkpoints before any data; that version wrote no digests.
    ModelState model(device, make_architecture("resnet20", 4));
    for (int shard = 0; shard < 2; ++shard) {
      model.initialize({.seed = 1, .purpose = purpose::initialization, .shard = static_cast<std::uint32_t>(shard)});
      StateDict state = model.state_dict();
      state.metadata = {{"format", "pt"}, {"model", "resnet20"}, {"lineage", lineages.at("trained")[shard][0]}};
      fs::create_directory(folder / ("shard-" + std::to_string(shard)));
      write_safetensors(folder / ("shard-" + std::to_string(shard)) / "stage-0.safetensors", state);
    }
  }
  ~EarlierRun() { fs::remove_all(root); }

  Lineages found(const SisaRun& run) const {
    Lineages all(2);
    for (int shard = 0; shard < 2; ++shard) {
      for (int stage = 0; stage <= 2; ++stage) {
        all[shard].push_back(read_safetensors_metadata(run.checkpoint(shard, stage)).at("lineage"));
      }
    }
    return all;
  }
};

}  // namespace

TEST_CASE("a run of format 1 is completed and forgets under its own lineages") {
  Device device(test_device(1));
  Observer observer;
  const EarlierRun earlier(device);
  SisaRun run = SisaRun::open(earlier.folder);
  CHECK(run.config().isa == kernels::Isa::v4);
  CHECK(run.config().recipe.batch == 16);
  run.complete(earlier.dataset, device, observer);
  CHECK(earlier.found(run) == earlier.lineages.at("trained").get<Lineages>());
  CHECK_FALSE(fs::exists(earlier.folder / "forgotten.json"));

  // A crash may come between the journal's taking over and this.
  fs::copy(golden / "forgotten.json", earlier.folder / "forgotten.json");
  CHECK(SisaRun::open(earlier.folder).forgotten().empty());
  run.lock();
  CHECK_FALSE(fs::exists(earlier.folder / "forgotten.json"));

  const std::vector<std::int32_t> ids = earlier.lineages.at("forgotten");
  run.forget(ids, {{"forget", "test"}});
  run.complete(earlier.dataset, device, observer);
  CHECK(earlier.found(run) == earlier.lineages.at("forgot").get<Lineages>());
  const SisaRun again = SisaRun::open(earlier.folder);
  CHECK(again.forgotten() == ids);
  CHECK(again.work().nothing_to_do());
  CHECK(slurp(earlier.folder / "manifest.jsonl").starts_with(slurp(golden / "manifest.jsonl")));
  CHECK(slurp(earlier.folder / "run.json") == slurp(golden / "run.json"));
}

TEST_CASE("a request that the version before accepted and lost is told, and mended by stating it again") {
  Device device(test_device(1));
  Observer observer;
  const EarlierRun earlier(device);
  SisaRun::open(earlier.folder).complete(earlier.dataset, device, observer);
  // A crash between its two writes: the manifest has the request, forgotten.json does not.
  fs::copy(golden / "forgotten.json", earlier.folder / "forgotten.json");
  std::ofstream(earlier.folder / "manifest.jsonl")
      << slurp(golden / "manifest.jsonl") << slurp(golden / "forget_line.jsonl");
  CHECK_THROWS_WITH_AS(SisaRun::open(earlier.folder), doctest::Contains("range:12-14,range:30-31"), Error);
  SisaRun run = SisaRun::open_to_forget(earlier.folder);
  const std::vector<std::int32_t> ids = earlier.lineages.at("forgotten");
  CHECK_THROWS_WITH_AS(run.forget({ids[0]}, {{"forget", "another"}}), doctest::Contains("range:12-14,range:30-31"),
                       UsageError);
  run.forget(ids, {{"forget", "the same"}});
  run.complete(earlier.dataset, device, observer);
  CHECK(SisaRun::open(earlier.folder).forgotten() == ids);
  CHECK(earlier.found(run) == earlier.lineages.at("forgot").get<Lineages>());
}

TEST_CASE("format 1's list of what is forgotten must fit its digest") {
  Device device(test_device(1));
  const EarlierRun earlier(device);
  std::ofstream(earlier.folder / "forgotten.json") << R"({"count": 0, "digest": "", "ids": []})";
  CHECK_THROWS_WITH_AS(SisaRun::open(earlier.folder), doctest::Contains("digest"), Error);
}

TEST_CASE("format 1's list of what is forgotten holds whole numbers within the data, in order, or is damaged") {
  Device device(test_device(1));
  const EarlierRun earlier(device);
  const auto with = [&](const std::string& ids, const std::vector<std::int32_t>& as_read) {
    std::ofstream(earlier.folder / "forgotten.json")
        << R"({"count": 1, "digest": ")" << ids_digest(as_read) << R"(", "ids": )" << ids << "}";
  };
  with("[1, 3]", {1, 3});
  std::ofstream(earlier.folder / "manifest.jsonl") << "";
  CHECK(SisaRun::open(earlier.folder).forgotten() == std::vector<std::int32_t>{1, 3});
  // With the digest of what a converting reader makes of them.
  for (const auto& [ids, as_read] :
       std::vector<std::pair<std::string, std::vector<std::int32_t>>>{{"[1.5]", {1}},
                                                                      {"[4294967297]", {1}},
                                                                      {"[true]", {1}},
                                                                      {"[48]", {48}},
                                                                      {"[-1]", {-1}},
                                                                      {"[3, 1]", {3, 1}},
                                                                      {"[1, 1]", {1, 1}},
                                                                      {"7", {7}}}) {
    CAPTURE(ids);
    with(ids, as_read);
    try {
      (void)SisaRun::open(earlier.folder);
      FAIL("was read");
    } catch (const Error& error) {
      const std::string message = error.what();
      CAPTURE(message);
      CHECK(message.find("forgotten.json: damaged: ") != std::string::npos);
      CHECK(message.find("json.exception") == std::string::npos);
    }
  }
}

TEST_CASE("format 1's requests record the class names that they go by") {
  Device device(test_device(1));
  Observer observer;
  const EarlierRun earlier(device);
  SisaRun run = SisaRun::open(earlier.folder);
  run.complete(earlier.dataset, device, observer);
  CHECK_FALSE(run.knows_class_names());
  Dataset renamed = earlier.dataset;
  std::swap(renamed.class_names[0], renamed.class_names[1]);
  CHECK_NOTHROW(run.check_data(renamed));
  run.forget({2}, {{"forget", "ids"}, {"class_names_digest", class_names_digest(earlier.dataset)}});
  CHECK(run.knows_class_names());
  CHECK_NOTHROW(run.check_data(earlier.dataset));
  CHECK_THROWS_WITH_AS(SisaRun::open(earlier.folder).check_data(renamed), doctest::Contains("fine_label_names.txt"),
                       UsageError);
}
