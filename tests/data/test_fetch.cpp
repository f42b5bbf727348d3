// data/fetch_imagenet_resnet with files of our own in torchvision's place.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <filesystem>
#include <string>

#include "engine/base/file.h"
#include "shared_data.h"
#include "tools/programs.h"

namespace nepenthe::tests {
namespace {

namespace fs = std::filesystem;

TEST_CASE("fetch_imagenet_resnet: a file is taken where its SHA-256 is as its name says, whole or in two parts") {
  if (std::system("command -v curl >/dev/null") != 0) {
    MESSAGE("skipped: only curl fetches file:// addresses");
    return;
  }
  const TemporaryFolder folder;
  std::string weights;
  for (int i = 0; i < 50'000; ++i) weights += static_cast<char>(i * i % 251);
  const std::string right = fmt::format("net-{}.pth", sha256_hex(weights).substr(0, 8)), wrong = "net-00000000.pth";
  const auto fetch = [&](const std::string& name, const std::string& arguments) {
    return run_program(folder.path(), fmt::format("fetch_imagenet_resnet {}", arguments),
                       fmt::format("NEPENTHE_IMAGENET_RESNET_URL='file://{}'", (folder / name).string()),
                       fs::path(NEPENTHE_SOURCE_DIR) / "data");
  };
  const auto check_refused = [&](const Outcome& outcome, int exit_code, const std::string& text) {
    INFO(outcome.error);
    CHECK(outcome.exit_code == exit_code);
    CHECK(outcome.error.find(fmt::format("error: {}", text)) != std::string::npos);
  };
  for (const std::string& name : {right, wrong}) spill(folder / name, weights);

  CHECK(fetch(right, "--out there/w.pth").exit_code == 0);
  CHECK(slurp(folder / "there/w.pth") == weights);
  const auto before = fs::last_write_time(folder / "there/w.pth");
  CHECK(fetch(right, "resnet34 --out there/w.pth").out.find("nothing to do") != std::string::npos);
  CHECK(fs::last_write_time(folder / "there/w.pth") == before);

  spill(folder / "there/v.pth.part", weights.substr(0, 20'000));
  CHECK(fetch(right, "resnet18 --out there/v.pth").exit_code == 0);
  CHECK(slurp(folder / "there/v.pth") == weights);
  spill(folder / "there/u.pth.part", weights);  // only the last step was missing
  fs::rename(folder / right, folder / "away");
  CHECK(fetch(right, "--out there/u.pth").exit_code == 0);
  fs::rename(folder / "away", folder / right);

  const auto good = files_of(folder / "there");
  CHECK(good.size() == 3);
  check_refused(fetch(wrong, "--out there/x.pth"), 1, "the download's SHA-256 is");
  check_refused(fetch(wrong, "--out there/w.pth"), 1, "there/w.pth is there, but is not net-00000000.pth");
  check_refused(fetch("gone-00000000.pth", "--out there/x.pth"), 1, "the download failed");
  check_refused(fetch("net.pth", "--out there/x.pth"), 1, "file://");
  check_refused(fetch(right, "--out there"), 1, "there is no file");
  check_refused(fetch(right, "resnet50"), 2, "unknown argument 'resnet50'");
  check_refused(fetch(right, "--out"), 2, "--out needs a file");
  CHECK(files_of(folder / "there") == good);
}

}  // namespace
}  // namespace nepenthe::tests
