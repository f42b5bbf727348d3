#include "data/wrong_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <exception>
#include <initializer_list>
#include <string_view>
#include <system_error>
#include <vector>

#include "engine/base/file.h"

namespace nepenthe {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view binary_needed =
    "the binary version is needed: data/fetch_cifar100 downloads CIFAR-100's, and cifar-10-binary.tar.gz is CIFAR-10's";

bool has(const fs::path& folder, const char* name) {
  std::error_code ignored;
  return fs::exists(folder / name, ignored);
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

bool holds_binary_version(const fs::path& folder) {
  return (has(folder, "train.bin") && has(folder, "test.bin")) ||
         (has(folder, "data_batch_1.bin") && has(folder, "test_batch.bin"));
}

bool holds_python_version(const fs::path& folder) {
  return (has(folder, "train") && has(folder, "test") && has(folder, "meta")) ||
         (has(folder, "data_batch_1") && has(folder, "batches.meta"));
}

bool ends_with_any(const fs::path& path, std::initializer_list<std::string_view> endings) {
  std::string name = path.filename().string();
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
  return std::ranges::any_of(endings, [&](std::string_view ending) { return name.ends_with(ending); });
}

bool is_archive(const fs::path& path) {
  return !is_folder(path) && ends_with_any(path, {".tar.gz", ".tgz", ".tar", ".zip"});
}

bool is_of_another_form(const fs::path& path) {
  return !is_folder(path) && ends_with_any(path, {".png", ".jpg", ".jpeg", ".parquet", ".npz", ".npy", ".mat"});
}

/// What lies in a folder, by name; at most so much that a folder of pictures costs no time.
std::vector<fs::path> entries(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end && found.size() < 1000; at.increment(error)) {
    found.push_back(at->path());
  }
  std::ranges::sort(found);
  return found;
}

fs::path parent(const fs::path& given) {
  const fs::path path = given.has_filename() ? given : given.parent_path();  // "data/" is "data"
  if (path.filename() == "." || path.filename() == "..") return path / "..";
  return folder_of(path);
}

std::string about_archive(const fs::path& archive) {
  const std::string name = archive.filename().string();
  if (name.find("python") != std::string::npos || name.find("-py") != std::string::npos) {
    return fmt::format("{} is the archive of the Python version; {}", archive.string(), binary_needed);
  }
  return fmt::format("{} is an archive: unpack it ({} {}), and the folder that it makes is the one to name",
                     archive.string(), ends_with_any(archive, {".zip"}) ? "unzip" : "tar -xf", archive.string());
}

/// The first data in another form in `folder` or up to two levels below (train/apple/1.png); empty without any.
fs::path data_of_another_form(const fs::path& folder, int levels = 2) {
  const std::vector<fs::path> all = entries(folder);
  const auto found = std::ranges::find_if(all, is_of_another_form);
  if (found != all.end()) return *found;
  for (std::size_t i = 0; levels > 0 && i < std::min<std::size_t>(all.size(), 10); ++i) {
    if (!is_folder(all[i])) continue;
    fs::path below = data_of_another_form(all[i], levels - 1);
    if (!below.empty()) return below;
  }
  return {};
}

std::string recognise(const fs::path& given) {
  const fs::path above = parent(given);
  if (holds_binary_version(above)) return fmt::format("a data set lies one level higher, in {}", above.string());
  if (is_archive(given)) return about_archive(given);
  if (!is_folder(given)) {
    if (holds_python_version(above)) return fmt::format("{} is the Python version; {}", above.string(), binary_needed);
    if (is_of_another_form(given)) return std::string(binary_needed);
    for (const fs::path& beside : entries(above)) {
      const bool its_archive = beside.filename().string().starts_with(given.filename().string());
      if (!given.filename().empty() && its_archive && is_archive(beside)) return about_archive(beside);
    }
    return {};
  }
  const std::vector<fs::path> inside = entries(given);
  std::string sets;
  for (const fs::path& folder : inside) {
    if (holds_binary_version(folder)) sets += (sets.empty() ? "" : " or ") + folder.string();
  }
  if (!sets.empty()) return fmt::format("a data set lies one level lower, in {}", sets);
  if (holds_python_version(given)) return fmt::format("it is the Python version; {}", binary_needed);
  for (const fs::path& folder : inside) {
    if (holds_python_version(folder)) {
      return fmt::format("{} is the Python version; {}", folder.string(), binary_needed);
    }
  }
  const auto archive = std::ranges::find_if(inside, is_archive);
  if (archive != inside.end()) return about_archive(*archive);
  const fs::path other = data_of_another_form(given);
  if (!other.empty()) return fmt::format("it holds data in another form ({}); {}", other.string(), binary_needed);
  return {};
}

}  // namespace

std::string recognise_wrong_folder(const fs::path& given) {
  try {
    return recognise(given);
  } catch (const std::exception&) {  // it is only to make a message better
    return {};
  }
}

}  // namespace nepenthe
