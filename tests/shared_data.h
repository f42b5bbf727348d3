// Where tests find the files of shared/data, which the project does not ship, and a folder of their own to write in.
#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace nepenthe::tests {

/// A file or folder below $NEPENTHE_SHARED_DATA, or else below ../shared/data beside the project. Empty where it is not
/// there, after a message that the test is skipped.
inline std::optional<std::filesystem::path> shared_data(std::string_view relative) {
  const char* const named = std::getenv("NEPENTHE_SHARED_DATA");
  const std::filesystem::path root =
      named != nullptr ? std::filesystem::path(named) : std::filesystem::path(NEPENTHE_SOURCE_DIR) / "../shared/data";
  const std::filesystem::path path = root / relative;
  if (std::filesystem::exists(path)) return path;
  MESSAGE("skipped: there is no ", path.string(), " (NEPENTHE_SHARED_DATA names its folder)");
  return std::nullopt;
}

/// A file of tests/golden; empty where it is not there, after a message that the test is skipped.
inline std::optional<std::filesystem::path> golden_file(std::string_view relative) {
  const std::filesystem::path path = std::filesystem::path(NEPENTHE_GOLDEN_DIR) / relative;
  if (std::filesystem::exists(path)) return path;
  MESSAGE("skipped: there is no ", path.string());
  return std::nullopt;
}

/// An empty folder that is removed with its contents.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "nepenthe-test-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// The message of the `Failure` that `action` throws; "" where it throws nothing. Other exceptions pass.
template <class Failure, class Action>
std::string message_of(Action&& action) {
  try {
    action();
  } catch (const Failure& failure) {
    return failure.what();
  }
  return "";
}

}  // namespace nepenthe::tests

/// Checks that `expression` throws a `Failure` whose one-line message contains `text`.
#define NEPENTHE_CHECK_MESSAGE(Failure, expression, text)                                           \
  do {                                                                                              \
    const std::string thrown = ::nepenthe::tests::message_of<Failure>([&] { (void)(expression); }); \
    INFO("thrown: ", thrown);                                                                       \
    CHECK(thrown.find(text) != std::string::npos);                                                  \
    CHECK(thrown.find('\n') == std::string::npos);                                                  \
  } while (false)
