// Running the programs from tests.
#pragma once

#include <fmt/format.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include "engine/base/file.h"

namespace nepenthe::tests {

struct Outcome {
  int exit_code;  // -1 where a signal ended it
  std::string out, error;
};

inline std::string slurp(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void spill(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// Runs a program in `folder`, given its name and arguments; `environment` goes before: "NAME=VALUE …"; `programs` is
/// where it lies.
inline Outcome run_program(const std::filesystem::path& folder, const std::string& command,
                           const std::string& environment = "",
                           const std::filesystem::path& programs = NEPENTHE_BIN_DIR) {
  const std::filesystem::path out = folder / "stdout.txt", error = folder / "stderr.txt";
  const std::size_t name_end = std::min(command.find(' '), command.size());
  const std::string line =
      fmt::format("cd '{}' && {} '{}/{}'{} >'{}' 2>'{}'", folder.string(), environment, programs.string(),
                  command.substr(0, name_end), command.substr(name_end), out.string(), error.string());
  const int status = std::system(line.c_str());
  // A shell reports its child's signal as 128 and more.
  const bool ended = WIFEXITED(status) && WEXITSTATUS(status) < 128;
  Outcome outcome{ended ? WEXITSTATUS(status) : -1, slurp(out), slurp(error)};
  std::filesystem::remove(out);
  std::filesystem::remove(error);
  return outcome;
}

/// The files under a folder with their digests; a link counts as such.
inline std::map<std::string, std::string> files_of(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const std::string name = std::filesystem::relative(entry.path(), folder).string();
    if (entry.is_symlink()) {
      files[name] = "-> " + std::filesystem::read_symlink(entry.path()).string();
    } else if (entry.is_regular_file()) {
      files[name] = sha256_file(entry.path());
    }
  }
  return files;
}

/// The checkpoints among them, and whatever else lies in the shards' folders.
inline std::map<std::string, std::string> shard_files(const std::filesystem::path& run) {
  std::map<std::string, std::string> files = files_of(run);
  std::erase_if(files, [](const auto& file) { return !file.first.starts_with("shard-"); });
  return files;
}

}  // namespace nepenthe::tests
