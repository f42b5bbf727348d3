// The lines of a text file that a person or another program wrote: one reader for every list that is given as text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace nepenthe {

/// Where a '#' begins a comment that runs to the end of its line.
enum class Comments : std::uint8_t {
  anywhere,     // lists of numbers, as numpy.loadtxt has it
  whole_lines,  // names, which may hold a '#' but not begin with one
};

struct TextLine {
  std::size_t number = 0;  // in the file, from 1
  std::string_view text;   // not empty, without blanks at its ends; points into the file
};

/// Whether bytes are well-formed UTF-8.
bool is_utf8(std::string_view text);

/// The lines of `file` that hold something: without comments, blank lines, a byte order mark of UTF-8, and spaces and
/// tabs at their ends. A line ends with LF, CRLF or CR. Throws Error, in one line beginning with `source`, for UTF-16
/// or UTF-32 and for bytes that are no text (NUL).
std::vector<TextLine> text_lines(std::string_view file, Comments comments, std::string_view source);

}  // namespace nepenthe
