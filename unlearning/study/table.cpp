#include "unlearning/study/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace nepenthe {
namespace {

/// Columns that a text takes on a terminal: its code points.
std::size_t width(const std::string& text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string heading(const Column& column) {
  if (column.group.empty() || column.title.empty()) return fmt::format("{}{}", column.group, column.title);
  return fmt::format("{} {}", column.group, column.title);
}

std::size_t number_of(const std::vector<std::string>& footnotes, const std::string& note) {
  return static_cast<std::size_t>(std::ranges::find(footnotes, note) - footnotes.begin()) + 1;
}

/// "¹²" for 12.
std::string superscript(std::size_t number) {
  constexpr std::array digits{"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string text;
  for (const char digit : std::to_string(number)) text += digits[static_cast<std::size_t>(digit - '0')];
  return text;
}

std::string marked(const Cell& cell, const std::vector<std::string>& footnotes) {
  return cell.note.empty() ? cell.text : fmt::format("{} {}", cell.text, superscript(number_of(footnotes, cell.note)));
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of("\",\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  quoted += '"';
  return quoted;
}

std::string replaced(const std::string& text, std::string (*replacement)(char)) {
  std::string result;
  for (const char c : text) result += replacement(c);
  return result;
}

}  // namespace

std::vector<std::string> Table::footnotes() const {
  std::vector<std::string> found;
  for (const auto& row : rows_) {
    for (const Cell& cell : row) {
      if (!cell.note.empty() && std::ranges::find(found, cell.note) == found.end()) found.push_back(cell.note);
    }
  }
  return found;
}

std::string Table::text() const {
  const std::vector<std::string> footnotes = this->footnotes();
  std::vector<std::vector<std::string>> lines(2);  // an empty line is a rule
  for (const Column& column : header_) lines[0].push_back(heading(column));
  for (const auto& row : rows_) {
    auto& line = lines.emplace_back();
    for (const Cell& cell : row) line.push_back(marked(cell, footnotes));
  }
  std::vector<std::size_t> widths(header_.size());
  for (const auto& line : lines) {
    for (std::size_t column = 0; column < line.size(); ++column) {
      widths[column] = std::max(widths[column], width(line[column]));
    }
  }
  std::string text;
  for (const auto& line : lines) {
    for (std::size_t column = 0; column < widths.size(); ++column) {
      if (column > 0) text += "  ";
      if (line.empty()) {
        for (std::size_t i = 0; i < widths[column]; ++i) text += "─";
        continue;
      }
      const std::string padding(widths[column] - (column < line.size() ? width(line[column]) : 0), ' ');
      if (column > 0) text += padding;
      if (column < line.size()) text += line[column];
      if (column == 0) text += padding;
    }
    while (text.ends_with(' ')) text.pop_back();
    text += '\n';
  }
  for (const std::string& note : footnotes) {
    text += fmt::format("{} {}\n", superscript(number_of(footnotes, note)), note);
  }
  for (const std::string& note : notes) text += fmt::format("{}\n", note);
  return text;
}

std::string Table::markdown() const {
  std::string text;
  const std::vector<std::string> footnotes = this->footnotes();
  if (!empty()) {
    text += '|';
    for (const Column& column : header_) text += fmt::format(" {} |", markdown_escaped(heading(column)));
    text += "\n|";
    for (std::size_t column = 0; column < header_.size(); ++column) text += column == 0 ? " :--- |" : " ---: |";
    text += '\n';
    for (const auto& row : rows_) {
      if (row.empty()) continue;
      text += '|';
      for (const Cell& cell : row) text += fmt::format(" {} |", markdown_escaped(marked(cell, footnotes)));
      text += '\n';
    }
  }
  for (const std::string& note : footnotes) {
    text += fmt::format("\n{} {}\n", superscript(number_of(footnotes, note)), markdown_escaped(note));
  }
  for (const std::string& note : notes) text += fmt::format("\n{}\n", markdown_escaped(note));
  return text;
}

std::string Table::html() const {
  const std::vector<std::string> footnotes = this->footnotes();
  std::string html = fmt::format("<figure class=\"table\" id=\"table-{}\">\n<figcaption>{}</figcaption>\n",
                                 html_escaped(name), html_escaped(title));
  if (!empty()) {
    html += fmt::format("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">\n<table>\n<thead>\n",
                        html_escaped(title));
    const bool groups = std::ranges::any_of(header_, [](const Column& column) { return !column.group.empty(); });
    if (groups) {
      html += "<tr>";
      for (std::size_t column = 0; column < header_.size();) {
        std::size_t end = column + 1;
        const std::string& group = header_[column].group;
        while (end < header_.size() && !group.empty() && header_[end].group == group) ++end;
        if (group.empty()) {
          html += fmt::format("<th scope=\"col\" rowspan=\"2\">{}</th>", html_escaped(header_[column].title));
        } else {
          html += fmt::format("<th scope=\"colgroup\" colspan=\"{}\" class=\"group\"><span>{}</span></th>",
                              end - column, html_escaped(group));
        }
        column = end;
      }
      html += "</tr>\n";
    }
    html += "<tr>";
    for (const Column& column : header_) {
      if (!groups || !column.group.empty())
        html += fmt::format("<th scope=\"col\">{}</th>", html_escaped(column.title));
    }
    html += "</tr>\n</thead>\n<tbody>\n";
    for (const auto& row : rows_) {
      if (row.empty()) {
        html += "</tbody>\n<tbody>\n";
        continue;
      }
      html += "<tr>";
      for (std::size_t column = 0; column < row.size(); ++column) {
        const std::string mark = row[column].note.empty()
                                     ? std::string()
                                     : fmt::format("<sup>{}</sup>", number_of(footnotes, row[column].note));
        html += fmt::format("<{0}>{2}{3}</{1}>", column == 0 ? "th scope=\"row\"" : "td", column == 0 ? "th" : "td",
                            html_escaped(row[column].text), mark);
      }
      html += "</tr>\n";
    }
    html += "</tbody>\n</table>\n</div>\n";
  }
  for (const std::string& note : footnotes) {
    html += fmt::format("<p class=\"note\"><sup>{}</sup> {}</p>\n", number_of(footnotes, note), html_escaped(note));
  }
  for (const std::string& note : notes) html += fmt::format("<p class=\"note\">{}</p>\n", html_escaped(note));
  html += "</figure>\n";
  return html;
}

std::string Table::csv() const {
  const bool remarks = !footnotes().empty();
  std::string text;
  const auto add_line = [&](std::vector<std::string> fields) {
    for (std::size_t i = 0; i < fields.size(); ++i) text += fmt::format("{}{}", i > 0 ? "," : "", csv_field(fields[i]));
    text += '\n';
  };
  std::vector<std::string> names;
  for (const Column& column : header_) {
    if (column.names.empty()) names.push_back(heading(column));
    names.insert(names.end(), column.names.begin(), column.names.end());
  }
  if (remarks) names.emplace_back("remark");
  add_line(names);
  for (const auto& row : rows_) {
    if (row.empty()) continue;
    std::vector<std::string> fields;
    std::string remark;
    for (std::size_t column = 0; column < header_.size(); ++column) {
      const std::size_t count = std::max<std::size_t>(header_[column].names.size(), 1);
      std::vector<std::string> values(count);
      if (column < row.size()) {
        const Cell& cell = row[column];
        if (!cell.values.empty()) {
          std::copy_n(cell.values.begin(), std::min(count, cell.values.size()), values.begin());
        } else if (cell.text != "–") {
          values[0] = cell.text;
        }
        if (remark.empty()) remark = cell.note;
      }
      fields.insert(fields.end(), values.begin(), values.end());
    }
    if (remarks) fields.push_back(remark);
    add_line(fields);
  }
  return text;
}

std::string html_escaped(const std::string& text) {
  return replaced(text, [](char c) -> std::string {
    switch (c) {
      case '&': return "&amp;";
      case '<': return "&lt;";
      case '>': return "&gt;";
      case '"': return "&quot;";
      case '\'': return "&#39;";
      default: return std::string(1, c);
    }
  });
}

std::string markdown_escaped(const std::string& text) {
  return replaced(text, [](char c) -> std::string {
    switch (c) {
      case '\\':
      case '|':
      case '<':
      case '*':
      case '`': return {'\\', c};
      case '\n': return " ";
      default: return std::string(1, c);
    }
  });
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
