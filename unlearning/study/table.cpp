#include "unlearning/study/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace nepenthe {
namespace {

/// Columns that a text takes on a terminal: its code points.
std::size_t width(const std::string& text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

Table::Table(std::vector<std::string> header) {
  rows_.push_back(std::move(header));
  add_rule();
}

void Table::add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
void Table::add_rule() { rows_.emplace_back(); }

std::string Table::text() const {
  std::vector<std::size_t> widths(rows_.front().size());
  for (const auto& row : rows_) {
    for (std::size_t column = 0; column < row.size(); ++column) {
      widths[column] = std::max(widths[column], width(row[column]));
    }
  }
  std::string text;
  for (const auto& row : rows_) {
    for (std::size_t column = 0; column < widths.size(); ++column) {
      if (column > 0) text += "  ";
      if (row.empty()) {
        for (std::size_t i = 0; i < widths[column]; ++i) text += "─";
        continue;
      }
      const std::string padding(widths[column] - (column < row.size() ? width(row[column]) : 0), ' ');
      if (column > 0) text += padding;
      if (column < row.size()) text += row[column];
      if (column == 0) text += padding;
    }
    while (text.ends_with(' ')) text.pop_back();
    text += '\n';
  }
  return text;
}

std::string first_columns(const std::string& text, int columns) {
  std::size_t end = 0;
  for (; end < text.size(); ++end) {
    if ((text[end] & 0xC0) != 0x80 && columns-- <= 0) break;
  }
  return text.substr(0, end);
}

std::string percent(double fraction) {
  return std::isfinite(fraction) ? fmt::format("{:.2f} %", 100 * fraction) : std::string("–");
}
std::string percent(std::optional<double> fraction) { return fraction ? percent(*fraction) : std::string("–"); }
std::string decimals(std::optional<double> value, int digits) {
  return value && std::isfinite(*value) ? fmt::format("{:.{}f}", *value, digits) : std::string("–");
}

std::string grouped(std::int64_t number) {
  std::string digits = std::to_string(number);
  for (int position = static_cast<int>(digits.size()) - 3; position > (number < 0 ? 1 : 0); position -= 3) {
    digits.insert(static_cast<std::size_t>(position), 1, ' ');
  }
  return digits;
}

std::string duration(double seconds) {
  if (seconds < 10) return fmt::format("{:.2f} s", seconds);
  if (seconds < 100) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

}  // namespace nepenthe
