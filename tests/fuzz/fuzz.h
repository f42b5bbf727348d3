// What the fuzz targets share. tools/dev/fuzz builds and runs them.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "engine/base/error.h"

namespace nepenthe::tests {

inline void require(bool condition) {
  if (!condition) std::abort();
}

/// Runs `action`, which may throw what a person is told: one line of text without control characters. All else is a
/// finding.
template <class Action>
void read_or_refuse(Action action) {
  const auto check = [](std::string_view message) {
    require(!message.empty());
    for (const char c : message) require(static_cast<unsigned char>(c) >= 0x20);
  };
  try {
    action();
  } catch (const UsageError& error) {
    check(error.what());
  } catch (const Error& error) {
    check(error.what());
  }
}

/// A file in memory, for readers that take a path.
class InputFile {
 public:
  InputFile() : descriptor_(::memfd_create("input", 0)) { require(descriptor_ >= 0); }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  ~InputFile() { ::close(descriptor_); }
  void write(std::string_view bytes) const {
    require(::ftruncate(descriptor_, 0) == 0);
    require(::pwrite(descriptor_, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  }
  std::filesystem::path path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

/// A folder of its own, made once.
inline std::filesystem::path make_folder() {
  std::string name = (std::filesystem::temp_directory_path() / "nepenthe-fuzz-XXXXXX").string();
  require(::mkdtemp(name.data()) != nullptr);
  return name;
}

/// One input: each target is a program of one source, which defines this.
void fuzz(std::string_view input);

}  // namespace nepenthe::tests

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  nepenthe::tests::fuzz({reinterpret_cast<const char*>(data), size});
  return 0;
}
