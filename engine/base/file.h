// Files as a whole: reading, writing so that no half-written file is ever seen, and SHA-256 digests.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nepenthe {

/// All bytes of a file. Throws Error with the path and the system's reason, and at once where the path names a folder,
/// a pipe, a socket or a device.
std::vector<std::byte> read_file(const std::filesystem::path& path);

/// The first `count` bytes of a file, fewer where it is shorter. Throws Error like read_file.
std::vector<std::byte> read_file_start(const std::filesystem::path& path, std::size_t count);

/// Replaces a file as one step: the bytes go to a temporary file in the same folder, which is fsynced and renamed, and
/// the folder is fsynced; so after a crash there is the old file or the new one. A path that names a device or a pipe
/// (/dev/stdout) is written directly, a symbolic link is followed. Throws Error with the path and the system's reason
/// ("No space left on device"); the temporary file is removed then and the old file is untouched.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

/// Throws Error "PATH: cannot DOING: REASON", the reason being the system's for this error number (errno).
[[noreturn]] void fail_by_system(const std::filesystem::path& path, std::string_view doing, int error);

/// Writes all of `text` to an open file; false with errno set.
bool write_all(int file, std::string_view text);

/// The folder that something is in: "." for a bare name.
std::filesystem::path folder_of(const std::filesystem::path& path);

/// Makes what was created, renamed or removed in a folder durable. Throws Error with the path and the system's reason.
void sync_folder(const std::filesystem::path& folder);

/// Whether something is there, at the end of links; makes a folder, which may be there already; what is in a folder, by
/// name; removing a file, which may be missing. Throw Error with the path and the system's reason.
bool is_there(const std::filesystem::path& path);
void make_folder(const std::filesystem::path& folder);
std::vector<std::filesystem::directory_entry> list_folder(const std::filesystem::path& folder);
void remove_file(const std::filesystem::path& path);

/// SHA-256 of bytes that come in parts.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::span<const std::byte> bytes);
  /// 64 lower-case hexadecimal digits; ends the computation, call it once.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// SHA-256 of bytes, as 64 lower-case hexadecimal digits.
std::string sha256_hex(std::span<const std::byte> bytes);
std::string sha256_hex(std::string_view text);

/// SHA-256 of a file's bytes, without holding them all. Throws Error like read_file.
std::string sha256_file(const std::filesystem::path& path);

/// Text out of a file for use in a message: cut to about 80 bytes, anything but printable ASCII escaped as \xNN.
std::string printable(std::string_view text);

/// Bytes seen as text.
inline std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace nepenthe
