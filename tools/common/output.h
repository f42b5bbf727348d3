// What a program shows: results on standard output, messages and progress on standard error. No failure to show ends
// the work: of messages it is forgotten, of results it is remembered and reported when all is done.
#pragma once

#include <fmt/format.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace nepenthe {

/// Call it first: a standard stream that is closed is held by nothing, so that no file opened later takes its number
/// and the messages meant for it; a reader that goes away is an error of writing, not a signal.
void prepare_output();

/// Writes to standard error, whole and at once; dropped where that fails.
void tell(std::string_view text);

/// Writes results to standard output; after a failure nothing more is tried.
void print_text(std::string_view text);
template <class... Args>
void print(fmt::format_string<Args...> format, Args&&... args) {
  print_text(fmt::format(format, std::forward<Args>(args)...));
}

/// The error number (errno) of the failure to write results.
std::optional<int> output_failure();

/// The size of the terminal that standard error is, in characters; empty where it is none, or where plain lines are
/// wanted (TERM unset or "dumb", NO_COLOR set).
struct TerminalSize {
  int columns, rows;
};
std::optional<TerminalSize> terminal_size();

}  // namespace nepenthe
