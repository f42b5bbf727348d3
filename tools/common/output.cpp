#include "tools/common/output.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "engine/base/file.h"

namespace nepenthe {
namespace {

std::optional<int> failure;

bool wants_plain_lines() {
  const char* terminal = std::getenv("TERM");
  const char* no_color = std::getenv("NO_COLOR");
  return terminal == nullptr || std::string_view(terminal) == "dumb" || (no_color != nullptr && *no_color != '\0');
}

}  // namespace

void prepare_output() {
  for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; ++stream) {
    // The lowest free number is taken: this one. Reading alone, so that writing goes on failing.
    if (::fcntl(stream, F_GETFD) < 0 && errno == EBADF) (void)::open("/dev/null", O_RDONLY);
  }
  (void)std::signal(SIGPIPE, SIG_IGN);
}

void tell(std::string_view text) { (void)write_all(STDERR_FILENO, text); }

void print_text(std::string_view text) {
  if (failure) return;
  if (!write_all(STDOUT_FILENO, text)) failure = errno;
}

std::optional<int> output_failure() { return failure; }

std::optional<TerminalSize> terminal_size() {
  static const bool terminal = ::isatty(STDERR_FILENO) != 0 && !wants_plain_lines();
  if (!terminal) return std::nullopt;
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0) size = {};
  return TerminalSize{.columns = size.ws_col > 0 ? size.ws_col : 80, .rows = size.ws_row > 0 ? size.ws_row : 24};
}

}  // namespace nepenthe
