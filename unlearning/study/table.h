// Results for people: tables and numbers with units.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace nepenthe {

/// A table of text whose columns line up: the first to the left, the others to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> header);
  void add(std::vector<std::string> row);
  void add_rule();
  /// With a line break behind every row.
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;  // an empty row is a rule
};

/// As much of a text as `columns` columns of a terminal hold, one for each code point.
std::string first_columns(const std::string& text, int columns);

/// "72.63 %"; "–" where there is none.
std::string percent(double fraction);
std::string percent(std::optional<double> fraction);
/// "0.5123"; "–" where there is none.
std::string decimals(std::optional<double> value, int digits);
/// "1 234 567"
std::string grouped(std::int64_t number);
/// "0.42 s", "12.3 s", "4 min 05 s", "2 h 03 min"
std::string duration(double seconds);

}  // namespace nepenthe
