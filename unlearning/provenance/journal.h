// The journal: what was done, in order, one JSON object a line, and the source of truth of a run.
//
// A line counts once all of it is durable, its line break last. So a request is accepted exactly when its line is
// whole, and every program sees it from then on; before, it was refused and left no trace. A last line without its
// break is what a crash left of an append: it never counted, and the next program that writes cuts it off. Every line
// carries a digest of itself and of the line before, so that one altered or removed is found. Lines of an earlier
// version come first and have no digests; the first line that has one covers them all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace nepenthe {

struct JournalLines {
  std::vector<nlohmann::ordered_json> entries;  // of this format
  std::vector<nlohmann::ordered_json> earlier;  // of an earlier version, as far as they can be read
  std::string last_digest;                      // what the next line is chained to
  std::int64_t bytes = 0;                       // of whole lines
};

/// The lines that count; none where there is no file. Throws Error, naming the file and the line, where one is damaged.
JournalLines read_journal(const std::filesystem::path& path);

/// A journal to write to. The file itself is the lock: while this object lives no other process has one.
class Journal {
 public:
  /// Opens the file, makes it where there is none, and cuts off a line that never counted. Throws Error where another
  /// process has the lock, where the path is a symbolic link, or where a line is damaged.
  explicit Journal(std::filesystem::path path);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  /// Whether this object made the file.
  bool is_new() const { return is_new_; }
  const JournalLines& lines() const { return lines_; }

  /// Appends a line, with the time, and returns when it is durable. Throws Error with the system's reason ("No space
  /// left on device"); the file is then as it was before.
  void append(const nlohmann::ordered_json& entry);

  /// Takes the file away again.
  void remove();

 private:
  void open();

  std::filesystem::path path_;
  int file_ = -1;
  bool is_new_ = false;
  JournalLines lines_;
};

}  // namespace nepenthe
