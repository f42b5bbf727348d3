#include "unlearning/provenance/journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <string_view>
#include <utility>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/formats/sealed_json.h"

namespace nepenthe {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

std::string utc_now() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text.data();
}

/// A crash leaves a line cut short. One that is whole up to its break, and has another byte there, is damaged.
bool is_cut_short(std::string_view rest) {
  const std::size_t end = rest.rfind('}');
  return end == std::string_view::npos || end + 1 == rest.size() || !Json::accept(rest.substr(0, end + 1));
}

JournalLines parse(std::string_view text, const fs::path& path) {
  JournalLines lines;
  const auto damaged = [&](std::string_view how) {
    throw Error(fmt::format("{}: damaged: line {} {}; a copy of the file from before the damage would be right",
                            path.string(), lines.earlier.size() + lines.entries.size() + 1, how));
  };
  std::size_t begin = 0;
  for (std::size_t end = 0; (end = text.find('\n', begin)) != std::string_view::npos; begin = end + 1) {
    const std::string_view written = text.substr(begin, end - begin);
    Json line = Json::parse(written, nullptr, false);
    const std::string before = lines.entries.empty() ? sha256_hex(text.substr(0, begin)) : lines.last_digest;
    if (is_sealed(line, before)) {
      lines.last_digest = line.at("digest").get<std::string>();
      lines.entries.push_back(std::move(line));
    } else if (lines.entries.empty() && written.find(",\"digest\":\"") == std::string_view::npos) {
      lines.earlier.push_back(std::move(line));
    } else {
      damaged("does not fit its digest");
    }
  }
  if (!is_cut_short(text.substr(begin))) damaged("has no end");
  lines.bytes = static_cast<std::int64_t>(begin);
  if (lines.entries.empty()) lines.last_digest = sha256_hex(text.substr(0, begin));
  return lines;
}

}  // namespace

JournalLines read_journal(const fs::path& path) {
  if (!is_there(path)) return {};
  const std::vector<std::byte> text = read_file(path);
  return parse(as_text(text), path);
}

Journal::Journal(fs::path path) : path_(std::move(path)) {
  open();
  try {
    lines_ = read_journal(path_);
    struct stat now = {};
    if (::fstat(file_, &now) == 0 && lines_.bytes < now.st_size && ::ftruncate(file_, lines_.bytes) != 0) {
      fail_by_system(path_, "cut off what a crash left in", errno);
    }
    // A program that ended between writing a line and syncing it leaves one that counts and must stay.
    if (::fsync(file_) != 0) fail_by_system(path_, "sync", errno);
  } catch (...) {
    if (is_new_) remove();
    ::close(file_);
    throw;
  }
}

Journal::~Journal() { ::close(file_); }

void Journal::open() {
  while (true) {
    is_new_ = false;
    file_ = ::open(path_.c_str(), O_RDWR | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
    if (file_ < 0 && errno == ENOENT) {
      is_new_ = true;
      file_ = ::open(path_.c_str(), O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
      if (file_ < 0 && errno == EEXIST) continue;
    }
    if (file_ < 0 && errno == ELOOP) {
      throw Error(fmt::format("{}: is a symbolic link; the file itself would be right", path_.string()));
    }
    if (file_ < 0) fail_by_system(path_, "open for writing", errno);
    if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      ::close(file_);
      if (error != EWOULDBLOCK) fail_by_system(path_, "lock", error);
      throw Error(fmt::format("{}: another program works with it; when it is done, try again", path_.string()));
    }
    // Who had the lock before may have taken the file away.
    struct stat own = {}, there = {};
    if (::fstat(file_, &own) == 0 && ::stat(path_.c_str(), &there) == 0 && own.st_ino == there.st_ino &&
        own.st_dev == there.st_dev) {
      return;
    }
    ::close(file_);
  }
}

void Journal::append(const Json& entry) {
  Json line{{"time", utc_now()}};
  line.update(entry);
  seal(line, lines_.last_digest);
  const std::string text = line.dump();
  // Whatever an append before this one left behind when it failed.
  if (::ftruncate(file_, lines_.bytes) != 0) fail_by_system(path_, "write", errno);
  // The break goes last and by itself: where it is, what is before it is durable.
  if (!write_all(file_, text) || ::fsync(file_) != 0 || !write_all(file_, "\n") || ::fsync(file_) != 0) {
    const int error = errno;
    if (::ftruncate(file_, lines_.bytes) == 0) ::fsync(file_);
    fail_by_system(path_, "write", error);
  }
  lines_.bytes += static_cast<std::int64_t>(text.size()) + 1;
  lines_.last_digest = line.at("digest").get<std::string>();
  lines_.entries.push_back(std::move(line));
}

void Journal::remove() {
  if (::unlink(path_.c_str()) != 0) fail_by_system(path_, "remove", errno);
}

}  // namespace nepenthe
