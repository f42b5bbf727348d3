#include "engine/base/in_the_making.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>

#include "engine/base/file.h"

namespace nepenthe {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view digits = "0123456789";
constexpr std::array<std::string_view, 1> temporary_ending{"#-#"};
constexpr std::array<std::string_view, 2> partial_ending{"#", "#-#"};
constexpr std::string_view partial = ".partial-";

/// "run" for "run/" too.
fs::path without_slash(const fs::path& folder) { return folder.has_filename() ? folder : folder.parent_path(); }

bool matches(std::string_view name, std::string_view pattern) {
  if (pattern.empty()) return name.empty();
  if (pattern.front() == '*') {
    return matches(name, pattern.substr(1)) || (!name.empty() && matches(name.substr(1), pattern));
  }
  if (pattern.front() == '#') {
    const std::size_t end = std::min(name.find_first_not_of(digits), name.size());
    return end > 0 && matches(name.substr(end), pattern.substr(1));
  }
  return !name.empty() && name.front() == pattern.front() && matches(name.substr(1), pattern.substr(1));
}

/// Whether what is open is still what has that name.
bool is_still_at(int file, const fs::path& path) {
  struct stat own = {}, there = {};
  return ::fstat(file, &own) == 0 && ::lstat(path.c_str(), &there) == 0 && own.st_ino == there.st_ino &&
         own.st_dev == there.st_dev;
}

/// Takes a maker's lock. False where one that clears up was faster; without locks there is none that does.
bool mark(int file, const fs::path& path) {
  if (::flock(file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return false;
  return is_still_at(file, path);
}

/// The lock of what nobody makes any more; empty descriptor where it is being made, or where that cannot be known.
class Abandoned {
 public:
  Abandoned(const fs::path& path, int flags)
      : file_(::open(path.c_str(), flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)) {
    locked_ = file_ >= 0 && ::flock(file_, LOCK_EX | LOCK_NB) == 0 && is_still_at(file_, path);
  }
  ~Abandoned() {
    if (file_ >= 0) ::close(file_);
  }
  Abandoned(const Abandoned&) = delete;
  Abandoned& operator=(const Abandoned&) = delete;
  explicit operator bool() const { return locked_; }

 private:
  int file_;
  bool locked_ = false;
};

/// The first in `folder` that is not of `names`; empty where there is none.
fs::path find_foreign(const fs::path& folder, NamePatterns names) {
  for (const fs::directory_entry& entry : list_folder(folder)) {
    const std::string name = entry.path().filename().string();
    const std::string_view target = target_of_temporary(name);
    const fs::file_type type = entry.symlink_status().type();
    const bool own_file = type == fs::file_type::regular && fits(target.empty() ? name : target, names);
    const bool own_folder = type == fs::file_type::directory && fits(name, names);
    if (!own_file && !own_folder) return entry.path();
    if (own_folder) {
      if (fs::path foreign = find_foreign(entry.path(), names); !foreign.empty()) return foreign;
    }
  }
  return {};
}

}  // namespace

bool fits(std::string_view name, NamePatterns patterns) {
  return std::ranges::any_of(patterns, [&](std::string_view pattern) { return matches(name, pattern); });
}

std::string_view target_of_temporary(std::string_view name) {
  constexpr std::string_view ending = ".tmp";
  if (!name.starts_with('.') || !name.ends_with(ending)) return {};
  name = name.substr(1, name.size() - 1 - ending.size());
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos || !fits(name.substr(dot + 1), temporary_ending)) return {};
  return name.substr(0, dot);
}

FileInTheMaking::FileInTheMaking(const fs::path& target) : target_(target) {
  static std::atomic<unsigned> serial = 0;
  while (true) {
    path_ = folder_of(target) / fmt::format(".{}.{}-{}.tmp", target.filename().string(), ::getpid(), serial++);
    file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (file_ < 0 && errno == EEXIST) continue;  // of another process that had the number
    if (file_ < 0) fail_by_system(target, "create a temporary file beside", errno);
    if (mark(file_, path_)) return;
    ::close(file_);
  }
}

FileInTheMaking::~FileInTheMaking() {
  if (!kept_) ::unlink(path_.c_str());
  ::close(file_);
}

bool FileInTheMaking::become_target() {
  kept_ = ::rename(path_.c_str(), target_.c_str()) == 0;
  return kept_;
}

FolderInTheMaking::FolderInTheMaking(const fs::path& target) : target_(without_slash(target)) {
  std::vector<fs::path> missing;
  std::error_code problem;
  for (fs::path way = folder_of(target_); !fs::exists(way, problem) && !problem; way = folder_of(way)) {
    missing.push_back(way);
  }
  for (auto way = missing.rbegin(); way != missing.rend(); ++way) {
    if (::mkdir(way->c_str(), 0777) == 0) {
      way_.push_back(*way);
    } else if (errno != EEXIST) {
      const int error = errno;
      for (auto made = way_.rbegin(); made != way_.rend(); ++made) ::rmdir(made->c_str());
      fail_by_system(*way, "make the folder", error);
    }
  }
  for (int attempt = 0; folder_ < 0; ++attempt) {
    path_ =
        fmt::format("{}{}{}{}", target_.string(), partial, ::getpid(), attempt == 0 ? "" : fmt::format("-{}", attempt));
    if (make()) return;
  }
}

/// False where the name is taken.
bool FolderInTheMaking::make() {
  if (::mkdir(path_.c_str(), 0777) != 0) {
    const int error = errno;
    if (error == EEXIST) return false;
    for (auto made = way_.rbegin(); made != way_.rend(); ++made) ::rmdir(made->c_str());
    fail_by_system(path_, "make the folder", error);
  }
  folder_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (folder_ < 0 && errno != ENOENT) fail_by_system(path_, "open", errno);
  if (folder_ >= 0 && mark(folder_, path_)) return true;
  if (folder_ >= 0) ::close(std::exchange(folder_, -1));
  return false;  // one that clears up was faster
}

FolderInTheMaking::~FolderInTheMaking() {
  if (folder_ < 0) return;
  std::error_code ignored;
  fs::remove_all(path_, ignored);
  for (auto made = way_.rbegin(); made != way_.rend(); ++made) ::rmdir(made->c_str());
  ::close(folder_);
}

void FolderInTheMaking::keep() {
  std::error_code problem;
  if (fs::is_directory(target_, problem)) {
    for (const fs::directory_entry& entry : list_folder(path_)) {
      const fs::path to = target_ / entry.path().filename();
      if (entry.is_directory() && fs::is_directory(to, problem)) {
        for (const fs::directory_entry& inner : list_folder(entry.path())) {
          if (::rename(inner.path().c_str(), (to / inner.path().filename()).c_str()) != 0) {
            fail_by_system(to / inner.path().filename(), "put in place", errno);
          }
        }
      } else if (::rename(entry.path().c_str(), to.c_str()) != 0) {
        fail_by_system(to, "put in place", errno);
      }
    }
    fs::remove_all(path_, problem);
  } else if (::rename(path_.c_str(), target_.c_str()) != 0) {
    fail_by_system(target_, "put in place", errno);
  }
  ::close(std::exchange(folder_, -1));
  sync_folder(folder_of(target_));
}

std::vector<fs::path> remove_abandoned_files(const fs::path& folder,
                                             const std::function<bool(std::string_view)>& is_target) {
  std::vector<fs::path> removed;
  for (const fs::directory_entry& entry : list_folder(folder)) {
    const std::string name = entry.path().filename().string();
    const std::string_view target = target_of_temporary(name);
    if (target.empty() || !is_target(target) || !fs::is_regular_file(entry.symlink_status())) continue;
    const Abandoned abandoned(entry.path(), O_RDWR);
    if (abandoned && ::unlink(entry.path().c_str()) == 0) removed.push_back(entry.path());
  }
  if (!removed.empty()) sync_folder(folder);
  return removed;
}

fs::path remove_folder_of(const fs::path& folder, NamePatterns names) {
  if (fs::path foreign = find_foreign(folder, names); !foreign.empty()) return foreign;
  std::error_code problem;
  fs::remove_all(folder, problem);
  return {};
}

AbandonedFolders remove_abandoned_folders(const fs::path& wanted, NamePatterns names) {
  AbandonedFolders found;
  const fs::path target = without_slash(wanted);
  const std::string beginning = target.filename().string() + std::string(partial);
  for (const fs::directory_entry& entry : list_folder(folder_of(target))) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(beginning) || !fits(std::string_view(name).substr(beginning.size()), partial_ending))
      continue;
    if (!fs::is_directory(entry.symlink_status())) continue;
    const Abandoned abandoned(entry.path(), O_RDONLY | O_DIRECTORY);
    if (!abandoned) continue;
    if (const fs::path foreign = remove_folder_of(entry.path(), names); !foreign.empty()) {
      found.foreign.push_back(foreign);
    } else if (std::error_code gone; !fs::exists(entry.path(), gone)) {
      found.removed.push_back(entry.path());
    }
  }
  return found;
}

}  // namespace nepenthe
