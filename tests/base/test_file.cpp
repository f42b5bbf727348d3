// Whole files: errors with path and reason, atomic replacement, SHA-256.
#include "engine/base/file.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>

#include "engine/base/error.h"
#include "shared_data.h"

using namespace nepenthe;
using namespace nepenthe::tests;

namespace {

std::string text_of(const std::filesystem::path& path) { return std::string(as_text(read_file(path))); }

int files_in(const std::filesystem::path& folder) {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++count;
  return count;
}

}  // namespace

TEST_CASE("file: reading gives all bytes, and errors name path and reason") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "empty", "");
  CHECK(read_file(folder / "empty").empty());
  const std::string large(300'000, 'x');
  write_file_atomically(folder / "large", large);
  CHECK(text_of(folder / "large") == large);

  NEPENTHE_CHECK_MESSAGE(Error, read_file(folder / "missing"), "missing: cannot open: No such file or directory");
  NEPENTHE_CHECK_MESSAGE(Error, read_file(folder.path()), "is a folder; a file is expected");
  NEPENTHE_CHECK_MESSAGE(Error, sha256_file(folder / "missing"), "missing: cannot open: No such file");
}

TEST_CASE("file: pipes, sockets and devices are no files to read, and nothing waits for them") {
  const TemporaryFolder folder;
  const auto check_refused = [](const std::filesystem::path& path, std::string_view kind) {
    const std::string expected = fmt::format("{}: is {}; a file is expected", path.string(), kind);
    NEPENTHE_CHECK_MESSAGE(Error, read_file(path), expected);
    NEPENTHE_CHECK_MESSAGE(Error, read_file_start(path, 8), expected);
    NEPENTHE_CHECK_MESSAGE(Error, sha256_file(path), expected);
  };
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  check_refused(folder / "pipe", "a pipe");
  std::filesystem::create_symlink(folder / "pipe", folder / "link");
  check_refused(folder / "link", "a pipe");
  check_refused("/dev/null", "a device");
  check_refused("/dev/zero", "a device");
  check_refused(folder.path(), "a folder");

  struct Socket {
    int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    ~Socket() { ::close(fd); }
  } const socket;
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  const std::filesystem::path path = folder / "socket";
  REQUIRE(path.native().copy(address.sun_path, sizeof address.sun_path - 1) == path.native().size());
  REQUIRE(::bind(socket.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  check_refused(path, "a socket");
}

TEST_CASE("file: writing replaces in one step and leaves nothing else behind") {
  const TemporaryFolder folder;
  const auto path = folder / "file";
  write_file_atomically(path, "old");
  write_file_atomically(path, "new");
  CHECK(text_of(path) == "new");
  CHECK(files_in(folder.path()) == 1);

  SUBCASE("a symbolic link stays one, its target is replaced") {
    std::filesystem::create_symlink(path, folder / "link");
    write_file_atomically(folder / "link", "through");
    CHECK(std::filesystem::is_symlink(folder / "link"));
    CHECK(text_of(path) == "through");
  }
  SUBCASE("the permissions of the old file stay") {
    REQUIRE(::chmod(path.c_str(), 0640) == 0);
    write_file_atomically(path, "again");
    struct stat status = {};
    REQUIRE(::stat(path.c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0640);
  }
  SUBCASE("a missing folder") {
    NEPENTHE_CHECK_MESSAGE(Error, write_file_atomically(folder / "no/file", "x"), "No such file or directory");
  }
  SUBCASE("a folder in the way") {
    std::filesystem::create_directory(folder / "sub");
    NEPENTHE_CHECK_MESSAGE(Error, write_file_atomically(folder / "sub", "x"), "sub: cannot write: Is a directory");
    CHECK(files_in(folder.path()) == 2);
  }
}

TEST_CASE("file: devices are written directly, and a full disk is said") {
  write_file_atomically("/dev/null", "x");
  CHECK(std::filesystem::is_character_file("/dev/null"));
  if (!std::filesystem::exists("/dev/full")) return;
  NEPENTHE_CHECK_MESSAGE(Error, write_file_atomically("/dev/full", "x"), "/dev/full: cannot write: No space left on");
}

TEST_CASE("file: SHA-256 is FIPS 180's, in one or in parts") {
  const std::string_view abc = "abc";
  const auto bytes = std::as_bytes(std::span(abc));
  const std::string expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  CHECK(sha256_hex(bytes) == expected);
  CHECK(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  Sha256 hash;
  hash.update(bytes.first(1));
  hash.update(bytes.subspan(1));
  CHECK(hash.hex() == expected);
  const TemporaryFolder folder;
  write_file_atomically(folder / "abc", abc);
  CHECK(sha256_file(folder / "abc") == expected);
}

TEST_CASE("file: text from files is made fit for a message") {
  CHECK(printable("plain text") == "plain text");
  CHECK(printable("a\nb\x01\xff") == "a\\x0ab\\x01\\xff");
  CHECK(printable(std::string(500, 'x')).size() < 100);
}
