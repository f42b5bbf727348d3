#include "tools/common/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>

#include "tools/common/report.h"

namespace nepenthe {
namespace {

volatile std::sig_atomic_t stop_signal = 0;

void on_signal(int signal) {
  if (stop_signal != 0) _exit(1);
  stop_signal = signal;
}

bool is_terminal() {
  static const bool terminal = isatty(STDERR_FILENO) != 0;
  return terminal;
}

}  // namespace

void stop_on_signals() {
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
}

bool stop_asked_for() { return stop_signal != 0; }

ProgressBar::~ProgressBar() { clear_line(); }

void ProgressBar::begin(const std::string& what) {
  clear_line();
  what_ = what;
  started_ = false;
}

std::string ProgressBar::text(const Progress& progress) const {
  const double seconds = std::chrono::duration<double>(Clock::now() - began_).count();
  const auto done = progress.samples - samples_at_begin_;
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  const double share = static_cast<double>(progress.samples) / static_cast<double>(progress.samples_total);
  std::string line = what_;
  if (is_terminal()) {
    constexpr int width = 24;
    const int filled = std::clamp(static_cast<int>(share * width), 0, width);
    line += fmt::format(" [{:=<{}}{:{}}]", "", filled, "", width - filled);
  }
  line += fmt::format(" {:3.0f} %", 100 * share);
  if (progress.epochs > 1) line += fmt::format("  epoch {}/{}", progress.epoch + 1, progress.epochs);
  if (std::isfinite(progress.loss)) line += fmt::format("  loss {:.3f}", progress.loss);
  if (std::isfinite(progress.accuracy)) line += fmt::format("  top-1 {:.1f} %", 100 * progress.accuracy);
  line += fmt::format("  {:.0f} images/s", rate);
  if (rate > 0) {
    line += fmt::format("  {} left", duration(static_cast<double>(progress.samples_total - progress.samples) / rate));
  }
  return line;
}

void ProgressBar::clear_line() {
  if (line_open_) fmt::print(stderr, "\r\x1b[K");
  line_open_ = false;
}

void ProgressBar::progress(const Progress& progress) {
  const auto now = Clock::now();
  if (!started_) {  // the rate is measured from the first report on
    started_ = true;
    began_ = last_ = now;
    samples_at_begin_ = progress.samples;
    return;
  }
  if (quiet_ || now - began_ < std::chrono::seconds(2)) return;
  const auto interval = is_terminal() ? std::chrono::milliseconds(200) : std::chrono::milliseconds(10000);
  if (now - last_ < interval) return;
  last_ = now;
  if (is_terminal()) {
    fmt::print(stderr, "\r{}\x1b[K", text(progress));
    line_open_ = true;
  } else {
    fmt::print(stderr, "{}\n", text(progress));
  }
  std::fflush(stderr);
}

}  // namespace nepenthe
