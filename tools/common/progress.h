// Progress of long computations on standard error, and stopping them with Ctrl-C or another signal.
#pragma once

#include <chrono>
#include <string>

#include "engine/observer.h"

namespace nepenthe {

/// SIGINT, SIGTERM and SIGHUP, unless ignored from the start, ask the computation to stop at its next safe point; a
/// second SIGINT ends the program at once.
void stop_on_signals();
bool stop_asked_for();

/// A bar with rate, loss, accuracy and time left where standard error is a terminal (terminal_columns); otherwise a
/// plain line every ten seconds. Nothing for computations shorter than two seconds, nor when quiet.
class ProgressBar : public Observer {
 public:
  explicit ProgressBar(bool quiet) : quiet_(quiet) {}
  ~ProgressBar() override;

  void begin(const std::string& what) override;
  void progress(const Progress& progress) override;
  bool stop_requested() override { return stop_asked_for(); }

 private:
  using Clock = std::chrono::steady_clock;
  std::string text(const Progress& progress) const;
  void clear_line();

  bool quiet_;
  std::string what_;
  bool started_ = false;
  bool line_open_ = false;
  std::int64_t samples_at_begin_ = 0;
  Clock::time_point began_, last_;
};

}  // namespace nepenthe
