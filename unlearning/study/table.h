// Results for people: tables and numbers with units.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace nepenthe {

/// A column of a table; a heading alone is one.
struct Column {
  Column(const char* heading) : title(heading) {}
  Column(std::string heading) : title(std::move(heading)) {}
  Column(std::string over, std::string heading, std::vector<std::string> csv_names)
      : title(std::move(heading)), group(std::move(over)), names(std::move(csv_names)) {}

  std::string title;
  std::string group;               // a heading over this and its neighbours of the same group; empty: none
  std::vector<std::string> names;  // in CSV, one for each value of its cells; empty: the heading
};

/// A cell: text for people, and its values for other programs where they are not that text.
struct Cell {
  Cell(const char* shown) : text(shown) {}
  Cell(std::string shown) : text(std::move(shown)) {}
  Cell(std::string shown, std::vector<std::string> plain) : text(std::move(shown)), values(std::move(plain)) {}

  std::string text;
  std::vector<std::string> values;  // as many as the column has names, or none
  std::string note;                 // a footnote; empty: none
};

/// A table whose columns line up: the first to the left, the others to the right.
class Table {
 public:
  explicit Table(std::vector<Column> header) : header_(std::move(header)) {}
  template <std::same_as<std::string> Text>
  explicit Table(const std::vector<Text>& header) : header_(header.begin(), header.end()) {}
  void add(std::vector<Cell> row) { rows_.push_back(std::move(row)); }
  template <std::same_as<std::string> Text>
  void add(const std::vector<Text>& row) {
    rows_.emplace_back(row.begin(), row.end());
  }
  void add_rule() { rows_.emplace_back(); }
  bool empty() const { return rows_.empty(); }

  std::string name;                // of its file
  std::string title;               // over it, where it stands in a report
  std::vector<std::string> notes;  // under it, after the footnotes

  /// For a terminal: columns, footnotes and notes, without the title; with a line break behind every line.
  std::string text() const;
  /// GitHub's table, footnotes and notes, without the title.
  std::string markdown() const;
  /// A <figure> with the title as its caption. A table without rows is its title and notes alone, here and above.
  std::string html() const;
  /// RFC 4180 but for line feeds: a line of names, then the rows' values; a last column "remark" where there are
  /// footnotes. Rules are left out.
  std::string csv() const;

 private:
  /// The footnotes in order of appearance, each once.
  std::vector<std::string> footnotes() const;

  std::vector<Column> header_;
  std::vector<std::vector<Cell>> rows_;  // an empty row is a rule
};

/// A text within HTML, also within a quoted attribute; and within Markdown.
std::string html_escaped(const std::string& text);
std::string markdown_escaped(const std::string& text);

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
