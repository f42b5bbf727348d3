// The files and folders that a command line names: no output is another one's place or an input, and what killed
// programs left in the place of an output is cleared away.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "engine/base/in_the_making.h"

namespace nepenthe {

class Places {
 public:
  /// `say` prints a line for people.
  explicit Places(std::function<void(const std::string&)> say) : say_(std::move(say)) {}

  /// Tell of every place before anything begins; an empty path is none. All throw UsageError where an output would go
  /// to the place of one told of before, or the other way round; `names` are those of the files that are the folder's
  /// own, whose places they are too.
  void reads(const std::filesystem::path& file, const std::string& option) { (void)add(file, option, false, {}); }
  void reads_folder(const std::filesystem::path& folder, const std::string& option, NamePatterns names);
  /// The files that a specification's ids parts name; an empty one has none.
  void reads_specification(const std::string& specification, const std::string& option);
  /// Throws UsageError besides where a file could not be made there.
  void writes(const std::filesystem::path& file, const std::string& option);
  void writes_folder(const std::filesystem::path& folder, const std::string& option, NamePatterns names);

 private:
  struct Place {
    std::filesystem::path path;  // as it is for all links
    std::string shown;           // "--out model.safetensors"
    bool output;
    NamePatterns names;
  };
  /// False where the path is empty.
  bool add(const std::filesystem::path& path, const std::string& option, bool output, NamePatterns names);

  std::function<void(const std::string&)> say_;
  std::vector<Place> places_;
};

/// Throws UsageError where `path` exists already.
void refuse_existing(const std::filesystem::path& path, const std::string& option);

}  // namespace nepenthe
