// The journal: what counts, what is found, what an append that fails leaves.
#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "engine/base/error.h"
#include "unlearning/provenance/journal.h"

using namespace nepenthe;
namespace fs = std::filesystem;

namespace {

struct TemporaryFile {
  fs::path path = fs::temp_directory_path() / ("nepenthe-journal-" + std::to_string(getpid()));
  TemporaryFile() { fs::remove(path); }
  ~TemporaryFile() { fs::remove(path); }
  std::string text() const {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void write(const std::string& bytes) const { std::ofstream(path, std::ios::binary) << bytes; }
};

}  // namespace

TEST_CASE("journal: lines are chained, whole ones count, and a torn one goes") {
  const TemporaryFile file;
  CHECK(read_journal(file.path).entries.empty());
  {
    Journal journal(file.path);
    CHECK(journal.is_new());
    journal.append({{"event", "created"}, {"text", "caf\xe9 is no UTF-8"}});
    journal.append({{"event", "forget"}, {"ids", {1, 2, 3}}});
    CHECK_THROWS_WITH_AS(Journal(file.path), doctest::Contains("another program"), Error);
  }
  const std::string whole = file.text();
  CHECK(read_journal(file.path).entries.size() == 2);

  // Every bit of it matters.
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << (at % 8)));
    file.write(flipped);
    CAPTURE(at);
    CHECK_THROWS_WITH_AS(read_journal(file.path), doctest::Contains("damaged"), Error);
  }
  const std::size_t first = whole.find('\n') + 1;
  file.write(whole.substr(first));
  CHECK_THROWS_AS(read_journal(file.path), Error);
  file.write(whole.substr(first) + whole.substr(0, first));
  CHECK_THROWS_AS(read_journal(file.path), Error);

  // Cut anywhere in the last line, that line never was.
  for (std::size_t size = first; size < whole.size(); ++size) {
    file.write(whole.substr(0, size));
    CAPTURE(size);
    CHECK(read_journal(file.path).entries.size() == 1);
    Journal journal(file.path);
    CHECK(file.text() == whole.substr(0, first));
  }
  Journal journal(file.path);
  CHECK_FALSE(journal.is_new());
  journal.append({{"event", "completed"}});
  CHECK(read_journal(file.path).entries.back().at("event") == "completed");
}

TEST_CASE("journal: lines of an earlier version are covered by the first of this one") {
  const TemporaryFile file;
  file.write("{\"event\":\"created\"}\n{\"event\":\"forget\"}\n{\"event\":\"torn");
  CHECK(read_journal(file.path).earlier.size() == 2);
  {
    Journal journal(file.path);
    journal.append({{"event", "adopted"}});
    journal.append({{"event", "completed"}});
  }
  const std::string whole = file.text();
  CHECK(read_journal(file.path).earlier.size() == 2);
  CHECK(read_journal(file.path).entries.size() == 2);
  std::string changed = whole;
  changed[3] = 'E';
  file.write(changed);
  CHECK_THROWS_AS(read_journal(file.path), Error);
}
