#include "engine/base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "engine/base/error.h"
#include "engine/base/in_the_making.h"

namespace nepenthe {

namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  int get() const { return fd_; }
  /// Closes now; false with errno set where the system reports a late write error.
  bool close() { return ::close(std::exchange(fd_, -1)) == 0; }

 private:
  int fd_;
};

/// What there is in place of a file that can be read from its beginning to its end; empty for one that can.
std::string_view other_kind(mode_t mode) {
  if (S_ISREG(mode)) return {};
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

Descriptor open_for_reading(const std::filesystem::path& path, struct stat& status) {
  const auto refuse_other_kinds = [&] {
    const std::string_view kind = other_kind(status.st_mode);
    if (!kind.empty()) throw Error(fmt::format("{}: is {}; a file is expected", path.string(), kind));
  };
  Descriptor file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));  // which waits for no pipe's other end
  if (file.get() < 0) {
    const int error = errno;
    if (::stat(path.c_str(), &status) == 0) refuse_other_kinds();
    fail_by_system(path, "open", error);
  }
  if (::fstat(file.get(), &status) != 0) fail_by_system(path, "read", errno);
  refuse_other_kinds();
  return file;
}

/// Bytes read; 0 at the end.
std::size_t read_some(const Descriptor& file, const std::filesystem::path& path, std::span<std::byte> buffer) {
  while (true) {
    const ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) fail_by_system(path, "read", errno);
  }
}

}  // namespace

void fail_by_system(const std::filesystem::path& path, std::string_view doing, int error) {
  throw Error(fmt::format("{}: cannot {}: {}", path.string(), doing, std::strerror(error)));
}

bool write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

std::vector<std::byte> read_file(const std::filesystem::path& path) {
  struct stat status = {};
  const Descriptor file = open_for_reading(path, status);
  // One byte more than the size, so that the end is seen without another allocation.
  std::vector<std::byte> bytes(static_cast<std::size_t>(status.st_size) + 1);
  std::size_t size = 0;
  while (const std::size_t got = read_some(file, path, std::span(bytes).subspan(size))) {
    size += got;
    if (size == bytes.size()) bytes.resize(2 * size);
  }
  bytes.resize(size);
  return bytes;
}

std::vector<std::byte> read_file_start(const std::filesystem::path& path, std::size_t count) {
  struct stat status = {};
  const Descriptor file = open_for_reading(path, status);
  std::vector<std::byte> bytes(count);
  std::size_t size = 0;
  while (size < count) {
    const std::size_t got = read_some(file, path, std::span(bytes).subspan(size));
    if (got == 0) break;
    size += got;
  }
  bytes.resize(size);
  return bytes;
}

void sync_folder(const std::filesystem::path& folder) {
  const Descriptor file(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Some file systems cannot sync a folder and say EINVAL; there a change is as durable as it gets.
  if (file.get() < 0 || (::fsync(file.get()) != 0 && errno != EINVAL)) fail_by_system(folder, "sync the folder", errno);
}

void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  struct stat status = {};
  const bool exists = ::stat(path.c_str(), &status) == 0;
  if (exists && S_ISDIR(status.st_mode)) fail_by_system(path, "write", EISDIR);
  if (exists && !S_ISREG(status.st_mode)) {
    Descriptor device(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (device.get() < 0) fail_by_system(path, "open for writing", errno);
    if (!write_all(device.get(), as_text(bytes)) || !device.close()) fail_by_system(path, "write", errno);
    return;
  }

  std::error_code no_target;
  const std::filesystem::path resolved = exists ? std::filesystem::canonical(path, no_target) : path;
  const std::filesystem::path target = no_target || resolved.empty() ? path : resolved;
  FileInTheMaking making(target);
  if (exists) (void)::fchmod(making.descriptor(), status.st_mode & 07777);
  if (!write_all(making.descriptor(), as_text(bytes)) || ::fsync(making.descriptor()) != 0)
    fail_by_system(path, "write", errno);
  if (!making.become_target()) fail_by_system(path, "replace", errno);
  sync_folder(folder_of(target));
}

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  write_file_atomically(path, std::as_bytes(std::span(text)));
}

std::vector<std::filesystem::directory_entry> list_folder(const std::filesystem::path& folder) {
  std::vector<std::filesystem::directory_entry> entries;
  std::error_code problem;
  std::filesystem::directory_iterator at(folder, problem);
  for (; !problem && at != std::filesystem::directory_iterator(); at.increment(problem)) entries.push_back(*at);
  if (problem) throw Error(fmt::format("{}: cannot list the folder: {}", folder.string(), problem.message()));
  std::ranges::sort(entries);
  return entries;
}

bool is_there(const std::filesystem::path& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) == 0) return true;
  if (errno != ENOENT && errno != ENOTDIR) fail_by_system(path, "look at it", errno);
  return false;
}

void make_folder(const std::filesystem::path& folder) {
  struct stat status = {};
  if (::mkdir(folder.c_str(), 0777) == 0) return;
  const int error = errno;
  if (::stat(folder.c_str(), &status) != 0 || !S_ISDIR(status.st_mode))
    fail_by_system(folder, "make the folder", error);
}

void remove_file(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) fail_by_system(path, "remove", errno);
}

struct Sha256::State {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context{EVP_MD_CTX_new(), &EVP_MD_CTX_free};
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  if (!state_->context || EVP_DigestInit_ex(state_->context.get(), EVP_sha256(), nullptr) != 1) {
    throw Error("[sha256] OpenSSL offers no SHA-256");
  }
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> bytes) {
  if (EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()) != 1) {
    throw Error("[sha256] OpenSSL failed to update a digest");
  }
}

std::string Sha256::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest = {};
  unsigned size = 0;
  if (EVP_DigestFinal_ex(state_->context.get(), digest.data(), &size) != 1) {
    throw Error("[sha256] OpenSSL failed to finish a digest");
  }
  std::string text;
  for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

std::string sha256_hex(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.hex();
}

std::string sha256_hex(std::string_view text) { return sha256_hex(std::as_bytes(std::span(text))); }

std::string sha256_file(const std::filesystem::path& path) {
  struct stat status = {};
  const Descriptor file = open_for_reading(path, status);
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  Sha256 hash;
  while (const std::size_t got = read_some(file, path, buffer)) hash.update(std::span(buffer).first(got));
  return hash.hex();
}

std::string printable(std::string_view text) {
  constexpr std::size_t longest = 80;
  std::string out;
  for (const char c : text) {
    if (out.size() >= longest) return out + "…";
    if (c >= ' ' && c <= '~') {
      out += c;
    } else {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

}  // namespace nepenthe
