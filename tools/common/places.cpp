#include "tools/common/places.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "unlearning/forget_spec.h"

namespace nepenthe {
namespace {

namespace fs = std::filesystem;

/// The same path for all ways to a place, whether or not something is there.
fs::path resolved(const fs::path& path) {
  std::error_code problem;
  fs::path whole = fs::weakly_canonical(fs::absolute(path, problem), problem);
  if (problem) whole = fs::absolute(path, problem).lexically_normal();
  return whole.has_filename() ? whole : whole.parent_path();
}

bool same(const fs::path& a, const fs::path& b) {
  std::error_code problem;
  return a == b || fs::equivalent(a, b, problem);
}

/// Whether `path` is that of a file that is `folder`'s own.
bool is_own(const fs::path& path, const fs::path& folder, NamePatterns names) {
  const fs::path way = path.lexically_relative(folder);
  return !names.empty() && !way.empty() &&
         std::ranges::all_of(way, [&](const fs::path& part) { return fits(part.string(), names); });
}

void require_writable_place(const fs::path& path, const std::string& option) {
  std::error_code unknown;
  const fs::path folder = folder_of(path);
  if (!fs::is_directory(folder, unknown)) {
    throw UsageError(fmt::format("{} {}: there is no folder {}", option, path.string(), folder.string()));
  }
  if (::access(folder.c_str(), W_OK) != 0) {
    throw UsageError(fmt::format("{} {}: the folder {} may not be written", option, path.string(), folder.string()));
  }
  if (fs::is_directory(path, unknown)) {
    throw UsageError(fmt::format("{} {}: is a folder; the name of a file is needed", option, path.string()));
  }
}

}  // namespace

bool Places::add(const fs::path& path, const std::string& option, bool output, NamePatterns names) {
  if (path.empty()) return false;
  const Place place{
      .path = resolved(path), .shown = fmt::format("{} {}", option, path.string()), .output = output, .names = names};
  for (const Place& other : places_) {
    if (!place.output && !other.output) continue;
    const Place& writer = place.output ? place : other;
    const Place& owner = place.output ? other : place;
    if (same(place.path, other.path)) {
      throw UsageError(fmt::format("{}: {} is the same; another name would be right", writer.shown, owner.shown));
    }
    if (is_own(place.path, other.path, other.names) || is_own(other.path, place.path, place.names)) {
      throw UsageError(
          fmt::format("{}: {} has this file as its own; another name would be right", writer.shown, owner.shown));
    }
  }
  places_.push_back(place);
  return true;
}

void Places::reads_folder(const fs::path& folder, const std::string& option, NamePatterns names) {
  (void)add(folder, option, false, names);
}

void Places::reads_specification(const std::string& specification, const std::string& option) {
  if (specification.empty()) return;
  for (const fs::path& file : files_of_forget_spec(specification)) reads(file, option);
}

void Places::writes(const fs::path& file, const std::string& option) {
  if (!add(file, option, true, {})) return;
  require_writable_place(file, option);
  const std::string name = places_.back().path.filename().string();
  const auto removed = remove_abandoned_files(places_.back().path.parent_path(),
                                              [&](std::string_view target) { return target == name; });
  for (const fs::path& path : removed)
    say_(fmt::format("note: {}: left by a killed program, and removed", path.lexically_normal().string()));
}

void Places::writes_folder(const fs::path& folder, const std::string& option, NamePatterns names) {
  if (!add(folder, option, true, names)) return;
  const AbandonedFolders abandoned = remove_abandoned_folders(folder, names);
  for (const fs::path& path : abandoned.removed) {
    say_(fmt::format("note: {}: left by a killed program, and removed", path.lexically_normal().string()));
  }
  for (const fs::path& path : abandoned.foreign) {
    say_(fmt::format("note: {}: in what a killed program left, and not its own; all of it is left alone",
                     path.lexically_normal().string()));
  }
}

void refuse_existing(const fs::path& path, const std::string& option) {
  std::error_code unknown;
  if (fs::exists(fs::symlink_status(path, unknown))) {
    throw UsageError(fmt::format("{} {}: exists already; another name, or removing it first, would be right", option,
                                 path.string()));
  }
}

}  // namespace nepenthe
