#include "engine/formats/text_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/file.h"

namespace nepenthe {

namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blanks = " \t";
  text.remove_prefix(std::min(text.find_first_not_of(blanks), text.size()));
  return text.substr(0, text.find_last_not_of(blanks) + 1);
}

bool is_control(char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f; }

}  // namespace

bool is_utf8(std::string_view text) {
  const auto is_ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
  if (std::ranges::all_of(text, is_ascii)) return true;
  try {
    (void)nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    return false;
  }
  return true;
}

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
    if (const auto control = std::ranges::find_if(text, is_control); control != text.end()) {
      throw Error(fmt::format("{}: line {} holds the control character 0x{:02x}; plain text in UTF-8 is expected",
                              source, number, static_cast<unsigned char>(*control)));
    }
    text = trimmed(text);
    if (comments == Comments::anywhere || text.starts_with('#')) text = trimmed(text.substr(0, text.find('#')));
    if (!is_utf8(text)) {
      throw Error(fmt::format("{}: line {} is '{}', which is no UTF-8; save the file as UTF-8", source, number,
                              printable(text)));
    }
    if (!text.empty()) lines.push_back({number, text});
  }
  return lines;
}

}  // namespace nepenthe
