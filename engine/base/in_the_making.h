// Files and folders in the making. Each has a temporary name beside the one that it is to get, and its maker holds a
// lock on it (flock) as long as it lives: so what a killed program left is told from what is being made, also where
// another process has its number by now or where hosts share the file system. Where locks are not to be had, nothing is
// ever taken for abandoned.
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nepenthe {

/// Patterns of the names that the files and folders in a folder have: '#' is a whole number, '*' any text.
using NamePatterns = std::span<const std::string_view>;

/// Whether one of the patterns is that of `name`.
bool fits(std::string_view name, NamePatterns patterns);

/// The file that `name` is a temporary of, "run.json" for ".run.json.12-0.tmp"; empty for other names.
std::string_view target_of_temporary(std::string_view name);

/// A temporary file, new and empty, in the folder of `target`.
class FileInTheMaking {
 public:
  /// Throws Error, naming `target`, with the system's reason.
  explicit FileInTheMaking(const std::filesystem::path& target);
  /// Removes the file unless it became its target.
  ~FileInTheMaking();
  FileInTheMaking(const FileInTheMaking&) = delete;
  FileInTheMaking& operator=(const FileInTheMaking&) = delete;

  int descriptor() const { return file_; }
  /// Replaces the target; what was written is to be synced before. False, with errno set, where the system refuses.
  bool become_target();

 private:
  std::filesystem::path target_, path_;
  int file_ = -1;
  bool kept_ = false;
};

/// A folder `target`.partial-N, with the folders that lead to it.
class FolderInTheMaking {
 public:
  /// Throws Error with the path and the system's reason.
  explicit FolderInTheMaking(const std::filesystem::path& target);
  /// Removes the folder with all that is in it, and what was made of the way to it, unless it was kept.
  ~FolderInTheMaking();
  FolderInTheMaking(const FolderInTheMaking&) = delete;
  FolderInTheMaking& operator=(const FolderInTheMaking&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// The folder gets its name. Where there is one of that name, its files go into that, each in the place of one of the
  /// same name. Throws Error with the path and the system's reason.
  void keep();

 private:
  bool make();

  std::filesystem::path target_, path_;
  std::vector<std::filesystem::path> way_;  // folders made on the way, outermost first
  int folder_ = -1;
};

/// Removes from `folder` the temporaries whose target's name `is_target` accepts and whose makers are gone. Regular
/// files only, nothing through a link. Returns what it removed; what it may not remove stays without a word.
std::vector<std::filesystem::path> remove_abandoned_files(const std::filesystem::path& folder,
                                                          const std::function<bool(std::string_view)>& is_target);

/// What became of the folders that killed makers of `target` left.
struct AbandonedFolders {
  std::vector<std::filesystem::path> removed;
  /// Left alone for something in them that is no file or folder of `names` or one's temporary: its path.
  std::vector<std::filesystem::path> foreign;
};
AbandonedFolders remove_abandoned_folders(const std::filesystem::path& target, NamePatterns names);

/// Removes a folder with all that is in it where that is files and folders of `names`, and their temporaries, alone;
/// else nothing, and the path of the first that is not is returned.
std::filesystem::path remove_folder_of(const std::filesystem::path& folder, NamePatterns names);

}  // namespace nepenthe
