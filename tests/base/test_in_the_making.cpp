// Files and folders in the making: what a killed maker left is removed, what is being made or is another's is not.
#include "engine/base/in_the_making.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <fstream>
#include <string>
#include <vector>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "shared_data.h"

using namespace nepenthe;
using namespace nepenthe::tests;
namespace fs = std::filesystem;

namespace {

constexpr std::array<std::string_view, 3> names{"run.json", "shard-#", "stage-#.safetensors"};

void spill(const fs::path& path) { std::ofstream(path) << "text"; }

std::vector<std::string> listing(const fs::path& folder) {
  std::vector<std::string> all;
  for (const auto& entry : list_folder(folder)) all.push_back(entry.path().filename().string());
  return all;
}

std::vector<fs::path> clear(const fs::path& folder) {
  return remove_abandoned_files(folder, [](std::string_view name) { return name == "out"; });
}

/// Runs `body` in a process of its own that is killed at the end of it.
template <class Body>
void killed(Body body) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    try {
      body();
    } catch (...) {
      ::_exit(1);
    }
    ::raise(SIGKILL);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
}

}  // namespace

TEST_CASE("patterns of names") {
  CHECK(fits("stage-12.safetensors", names));
  CHECK_FALSE(fits("stage-.safetensors", names));
  CHECK_FALSE(fits("stage-1x.safetensors", names));
  CHECK_FALSE(fits("stage-1.safetensors.bak", names));
  CHECK_FALSE(fits("run.json2", names));
  CHECK_FALSE(fits("", names));
  constexpr std::array<std::string_view, 1> all{"*.npy"};
  CHECK(fits("test.npy", all));
  CHECK_FALSE(fits("test.npy.old", all));
  CHECK(target_of_temporary(".run.json.12-0.tmp") == "run.json");
  for (const char* other : {"run.json.12-0.tmp", ".run.json.12.tmp", ".run.json.1-2-3.tmp", ".run.json.-.tmp",
                            ".run.json.12-0.tmp2", ".tmp", ".12-0.tmp"}) {
    CAPTURE(other);
    CHECK(target_of_temporary(other).empty());
  }
}

TEST_CASE("temporary files: of a killed writer they are removed, of a living one and of others not") {
  const TemporaryFolder folder;
  const fs::path out = folder / "out";
  killed([&] {
    auto* left = new FileInTheMaking(out);  // NOLINT: it is to be left
    REQUIRE(::write(left->descriptor(), "half", 4) == 4);
  });
  CHECK(listing(folder.path()).size() == 1);
  {
    const FileInTheMaking living(out);
    spill(folder / ".other.12-0.tmp");
    spill(folder / ".out.mine.tmp");
    fs::create_directory(folder / ".out.12-1.tmp");
    spill(folder / "precious");
    fs::create_symlink(folder / "precious", folder / ".out.12-2.tmp");
    CHECK(clear(folder.path()).size() == 1);
    CHECK(listing(folder.path()).size() == 6);
  }
  CHECK(clear(folder.path()).empty());
  CHECK(listing(folder.path()) ==
        std::vector<std::string>{".other.12-0.tmp", ".out.12-1.tmp", ".out.12-2.tmp", ".out.mine.tmp", "precious"});
}

TEST_CASE("temporary files: one of the same name is another's and is not written to") {
  const TemporaryFolder folder;
  const fs::path out = folder / "out";
  unsigned serial = 0;
  {
    const FileInTheMaking next(out);
    const std::string name = listing(folder.path()).front();
    serial = static_cast<unsigned>(std::stoul(name.substr(name.rfind('-') + 1)));
  }
  const fs::path taken = folder / fmt::format(".out.{}-{}.tmp", ::getpid(), serial + 1);
  spill(taken);
  write_file_atomically(out, "mine");
  CHECK(as_text(read_file(taken)) == "text");
  CHECK(as_text(read_file(out)) == "mine");
}

TEST_CASE("folders: all or nothing, with the way to them, and a taken name is not adopted") {
  const TemporaryFolder folder;
  const fs::path out = folder / "a" / "b" / "out";
  {
    const FolderInTheMaking making(out);
    spill(making.path() / "file");
  }
  CHECK(listing(folder.path()).empty());
  fs::create_directories(folder / "a" / "b" / fmt::format("out.partial-{}", ::getpid()));
  spill(folder / "a" / "b" / fmt::format("out.partial-{}", ::getpid()) / "foreign");
  {
    FolderInTheMaking making(out.string() + "/");
    CHECK(listing(making.path()).empty());
    spill(making.path() / "file");
    making.keep();
  }
  CHECK(listing(out) == std::vector<std::string>{"file"});
  {
    FolderInTheMaking more(out);
    make_folder(more.path() / "inner");
    spill(more.path() / "inner" / "new");
    make_folder(out / "inner");
    spill(out / "inner" / "old");
    more.keep();
  }
  CHECK(listing(out) == std::vector<std::string>{"file", "inner"});
  CHECK(listing(out / "inner") == std::vector<std::string>{"new", "old"});
  CHECK(listing(folder / "a" / "b").size() == 2);
}

TEST_CASE("folders: what a killed maker left is removed where it is all its own") {
  const TemporaryFolder folder;
  const fs::path out = folder / "run";
  killed([&] {
    auto* left = new FolderInTheMaking(out);  // NOLINT: it is to be left
    make_folder(left->path() / "shard-0");
    spill(left->path() / "shard-0" / "stage-0.safetensors");
    spill(left->path() / "shard-0" / ".stage-1.safetensors.7-0.tmp");
    spill(left->path() / "run.json");
  });
  const FolderInTheMaking living(out);
  for (const char* name : {"run.partial-x", "run.partial-1-2-3", "other.partial-1"})
    fs::create_directory(folder / name);
  spill(folder / "run.partial-3");
  fs::create_directory(folder / "run.partial-4");
  spill(folder / "run.partial-4" / "notes.txt");
  fs::create_directory(folder / "precious");
  fs::create_directory_symlink(folder / "precious", folder / "run.partial-5");
  fs::create_directory(folder / "run.partial-6");
  fs::create_directory_symlink(folder / "precious", folder / "run.partial-6" / "shard-1");
  const auto before = listing(folder.path()).size();
  const AbandonedFolders found = remove_abandoned_folders(out, names);
  CHECK(found.removed.size() == 1);
  CHECK(found.foreign ==
        std::vector<fs::path>{folder / "run.partial-4" / "notes.txt", folder / "run.partial-6" / "shard-1"});
  CHECK(listing(folder.path()).size() == before - 1);
  CHECK(fs::exists(living.path()));
}
