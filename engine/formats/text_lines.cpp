#include "engine/formats/text_lines.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/base/error.h"

namespace nepenthe {

namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blanks = " \t";
  text.remove_prefix(std::min(text.find_first_not_of(blanks), text.size()));
  return text.substr(0, text.find_last_not_of(blanks) + 1);
}

}  // namespace

std::vector<TextLine> text_lines(std::string_view file, Comments comments, std::string_view source) {
  if (file.starts_with("\xff\xfe") || file.starts_with("\xfe\xff")) {
    throw Error(fmt::format("{}: is text in UTF-16 or UTF-32; save it as UTF-8", source));
  }
  if (file.starts_with("\xef\xbb\xbf")) file.remove_prefix(3);
  std::vector<TextLine> lines;
  for (std::size_t number = 1; !file.empty(); ++number) {
    const std::size_t end = std::min(file.find_first_of("\r\n"), file.size());
    std::string_view text = file.substr(0, end);
    file.remove_prefix(end);
    file.remove_prefix(file.starts_with("\r\n") ? 2 : std::min<std::size_t>(1, file.size()));
    if (text.find('\0') != std::string_view::npos) {
      throw Error(fmt::format("{}: line {} holds a NUL byte; plain text in UTF-8 is expected", source, number));
    }
    text = trimmed(text);
    if (comments == Comments::anywhere || text.starts_with('#')) text = trimmed(text.substr(0, text.find('#')));
    if (!text.empty()) lines.push_back({number, text});
  }
  return lines;
}

}  // namespace nepenthe
