// convert_weights as a person meets it: what --check says and refuses, the counters, and wrappers on the way.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "device.h"
#include "engine/formats/content_digest.h"
#include "engine/formats/torch_checkpoint.h"
#include "models/registry.h"
#include "models/weights.h"
#include "shared_data.h"
#include "tools/programs.h"

namespace nepenthe::tests {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

StateDict resnet20_state(const std::string& prefix) {
  Device device(test_device());
  ModelState model(device, make_architecture("resnet20", 7));
  model.initialize({.seed = 1});
  StateDict state = model.state_dict();
  for (auto& [name, tensor] : state.entries) name.insert(0, prefix);
  return state;
}

void check_refused(const Outcome& outcome, int exit_code, const std::string& text) {
  INFO(outcome.error);
  CHECK(outcome.exit_code == exit_code);
  CHECK(outcome.error.starts_with("error: "));
  CHECK(outcome.error.find(text) != std::string::npos);
  CHECK(outcome.error.find('\n') == outcome.error.size() - 1);
}

TEST_CASE("convert_weights --check: what a file is, holds and fits") {
  const TemporaryFolder folder;
  const auto check = [&](const std::string& file) {
    const Outcome outcome = run_program(folder.path(), fmt::format("convert_weights {} --check --json j.json", file));
    INFO(outcome.error);
    REQUIRE(outcome.exit_code == 0);
    return std::pair(outcome.out, Json::parse(slurp(folder / "j.json")));
  };
  const auto says = [](const std::string& out, const std::string& text) {
    INFO(out);
    CHECK(out.find(text) != std::string::npos);
  };
  StateDict state = resnet20_state("module._orig_mod.");
  state.metadata = {{"format", "pt"}};
  write_with_digest(folder / "w.safetensors", state);
  {
    const auto [out, json] = check("w.safetensors");
    says(out, fmt::format("SHA-256      {}\n", sha256_file(folder / "w.safetensors")));
    says(out, "contents     fit their digest\n");
    says(out, "numbers      all finite\n");
    says(out, "fits         resnet20 with 7 classes, names without \"module._orig_mod.\"\n");
    says(out, "metadata     format: pt\n");
    const Json& of_file = json.at("check");
    CHECK(of_file.at("format") == "safetensors");
    CHECK(of_file.at("digest") == true);
    CHECK(of_file.at("sha256_in_name").is_null());
    CHECK(of_file.at("fits").at(0) == Json{{"model", "resnet20"}, {"classes", 7}, {"prefix", "module._orig_mod."}});
    CHECK(of_file.at("metadata").at("format") == "pt");
    CHECK(json.at("tensors").size() == state.entries.size());
  }
  // A hub's name, whatever stands behind the digits.
  const std::string sha256 = sha256_file(folder / "w.safetensors");
  const std::string named = fmt::format("net-20-{}.safetensors.tar", sha256.substr(0, 10));
  fs::copy(folder / "w.safetensors", folder / named);
  says(check(named).first, ", as its name says\n");
  CHECK(check(named).second.at("check").at("sha256_in_name") == sha256.substr(0, 10));
  for (const char* name : {"net-0000000.pth", "net-deadbeeg.pth", "00000000.pth", "net-00000000-x.pth"}) {
    fs::copy(folder / "w.safetensors", folder / name);
    CHECK(check(name).second.at("check").at("sha256_in_name").is_null());
  }

  // What fits no model, holds what is not finite, is in a dict of others.
  state.entries[0].second = HostTensor::from({1}, std::vector<float>{INFINITY});
  write_torch_checkpoint(folder / "w.pth", state);
  {
    const auto [out, json] = check("w.pth");
    says(out, "format       PyTorch zip checkpoint");
    says(out, "numbers      not all finite\n");
    says(out, "fits         none of resnet20, ");
    CHECK(json.at("check").at("finite") == false);
    CHECK(json.at("check").at("fits").empty());
  }
  if (const auto golden = golden_file("checkpoints/nested.pt")) {
    const auto [out, json] = check(fmt::format("'{}'", golden->string()));
    says(out, "found under  ['state_dict']\n");
    CHECK(json.at("check").at("key") == "['state_dict']");
  }
}

TEST_CASE("convert_weights --check: what does not verify is one line, exit code 1") {
  const TemporaryFolder folder;
  const auto run = [&](const std::string& arguments) {
    return run_program(folder.path(), fmt::format("convert_weights {}", arguments));
  };
  const StateDict state = resnet20_state("");
  write_with_digest(folder / "w.safetensors", state);
  write_torch_checkpoint(folder / "w.pth", state);
  const std::string good = slurp(folder / "w.safetensors");
  for (const char* file : {"w.safetensors", "w.pth"}) {
    fs::copy(folder / file, folder / "net-00000000.pth", fs::copy_options::overwrite_existing);
    check_refused(run("net-00000000.pth --check"), 1,
                  fmt::format("net-00000000.pth: its SHA-256 begins with {}, and its name says 00000000",
                              sha256_file(folder / file).substr(0, 8)));
    std::string damaged = slurp(folder / file);
    damaged[damaged.size() / 2] ^= 1;
    spill(folder / "damaged", damaged);
    check_refused(run("damaged --check"), 1,
                  file == std::string("w.pth") ? "fails its CRC-32" : "damaged: damaged: its");
  }
  check_refused(run("w.pth"), 2, "a file to write, --list or --check is needed");
  check_refused(run("w.pth --check --num-batches-tracked"), 2, "--num-batches-tracked: a file to write is needed");
}

TEST_CASE("convert_weights: names are kept, and counters of batches added on request") {
  const TemporaryFolder folder;
  StateDict state = resnet20_state("module.");
  const HostTensor five = HostTensor::from({}, std::array<std::int64_t, 1>{5});
  state.add("module.bn1.num_batches_tracked", five);
  write_torch_checkpoint(folder / "w.pth", state);
  CHECK(run_program(folder.path(), "convert_weights w.pth same.safetensors").exit_code == 0);
  CHECK(read_weights(folder / "same.safetensors").entries.size() == state.entries.size());
  for (const char* out : {"with.pth", "with.safetensors"}) {
    CHECK(run_program(folder.path(), fmt::format("convert_weights w.pth {} --num-batches-tracked", out)).exit_code ==
          0);
    const StateDict with = read_weights(folder / out);
    std::size_t norms = 0;
    for (const auto& [name, tensor] : state.entries) {
      REQUIRE(with.find(name) != nullptr);
      CHECK(with.find(name)->bytes == tensor.bytes);
      if (!name.ends_with("running_var")) continue;
      ++norms;
      const HostTensor* counter = with.find(fmt::format("{}num_batches_tracked", name.substr(0, name.size() - 11)));
      REQUIRE(counter != nullptr);
      CHECK(counter->shape.empty());
      CHECK(counter->i64()[0] == (name == "module.bn1.running_var" ? 5 : 0));
    }
    CHECK(with.entries.size() == state.entries.size() + norms - 1);
  }
}

}  // namespace
}  // namespace nepenthe::tests
