#include "tools/common/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <optional>

#include "tools/common/output.h"
#include "unlearning/study/table.h"

namespace nepenthe {
namespace {

std::atomic<int> stop_signal = 0;  // set by whichever thread gets the signal
static_assert(std::atomic<int>::is_always_lock_free);

void on_signal(int signal) {
  // A terminal that closes may send SIGHUP twice; only a person who asks again means at once.
  if (signal == SIGINT && stop_signal == SIGINT) _exit(1);
  stop_signal = signal;
}

}  // namespace

void stop_on_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action = {};
    // What is ignored from the start stays so: nohup, and shells for programs in the background.
    if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) continue;
    action = {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    (void)::sigaction(signal, &action, nullptr);
  }
}

bool stop_asked_for() { return stop_signal != 0; }

ProgressBar::~ProgressBar() = default;

void ProgressBar::draw() {
  const std::optional<TerminalSize> terminal = terminal_size();
  if (!terminal) return;
  std::string drawing = rows_ > 1 ? fmt::format("\x1b[{}A\r", rows_ - 1) : "\r";
  int rows = 0;
  for (const Lane* lane : lanes_) {
    if (lane->shown().empty() || rows == terminal->rows) continue;
    drawing += fmt::format("{}{}\x1b[K", rows == 0 ? "" : "\r\n", lane->shown());
    ++rows;
  }
  if (rows < rows_) drawing += "\x1b[J";
  rows_ = rows;
  tell(drawing);
}

ProgressBar::Lane::~Lane() {
  begin("");
  std::erase(bar_.lanes_, this);
}

void ProgressBar::Lane::begin(const std::string& what) {
  what_ = what;
  started_ = false;
  if (shown_.empty()) return;
  shown_.clear();
  bar_.draw();
}

std::string ProgressBar::Lane::text(const Progress& progress) const {
  const double seconds = std::chrono::duration<double>(Clock::now() - began_).count();
  const auto done = progress.samples - samples_at_begin_;
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  const double share = static_cast<double>(progress.samples) / static_cast<double>(progress.samples_total);
  std::string line = fmt::format(" {:3.0f} %", 100 * share);
  if (progress.epochs > 1) line += fmt::format("  epoch {}/{}", progress.epoch + 1, progress.epochs);
  if (std::isfinite(progress.loss)) line += fmt::format("  loss {:.3f}", progress.loss);
  if (std::isfinite(progress.accuracy)) line += fmt::format("  top-1 {:.1f} %", 100 * progress.accuracy);
  line += fmt::format("  {:.0f} images/s", rate);
  if (rate > 0) {
    line += fmt::format("  {} left", duration(static_cast<double>(progress.samples_total - progress.samples) / rate));
  }
  const std::optional<TerminalSize> terminal = terminal_size();
  if (!terminal) return what_ + line;
  // What is left of the terminal's width is the bar's. A line that wraps could not be taken back.
  constexpr int shortest = 4, longest = 24;
  const int width = std::min(longest, terminal->columns - 4 - static_cast<int>(what_.size() + line.size()));
  const int filled = std::clamp(static_cast<int>(share * width), 0, std::max(width, 0));
  const std::string bar = width < shortest ? "" : fmt::format(" [{:=<{}}{:{}}]", "", filled, "", width - filled);
  return first_columns(what_ + bar + line, terminal->columns - 1);
}

void ProgressBar::Lane::progress(const Progress& progress) {
  const auto now = Clock::now();
  if (!started_) {  // the rate is measured from the first report on
    started_ = true;
    began_ = last_ = now;
    samples_at_begin_ = progress.samples;
    return;
  }
  if (bar_.quiet_ || now - began_ < std::chrono::seconds(2)) return;
  const bool drawn = terminal_size().has_value();
  if (now - last_ < (drawn ? std::chrono::milliseconds(200) : std::chrono::milliseconds(10000))) return;
  last_ = now;
  if (!drawn) return tell(text(progress) + "\n");
  shown_ = text(progress);
  bar_.draw();
}

}  // namespace nepenthe
