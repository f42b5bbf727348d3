// Progress of long computations on standard error, and stopping them with Ctrl-C or another signal.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "engine/observer.h"

namespace nepenthe {

/// SIGINT, SIGTERM and SIGHUP, unless ignored from the start, ask the computation to stop at its next safe point; a
/// second SIGINT ends the program at once.
void stop_on_signals();
bool stop_asked_for();

/// A bar with rate, loss, accuracy and time left where standard error is a terminal (terminal_size), one below another
/// for computations at once; otherwise a plain line every ten seconds. Nothing for computations shorter than two
/// seconds, nor when quiet.
class ProgressBar : public Observer {
 public:
  explicit ProgressBar(bool quiet) : quiet_(quiet), own_(*this) {}
  ~ProgressBar() override;

  void begin(const std::string& what) override { own_.begin(what); }
  void progress(const Progress& progress) override { own_.progress(progress); }
  bool stop_requested() override { return stop_asked_for(); }
  std::unique_ptr<Observer> lane() override { return std::make_unique<Lane>(*this); }

 private:
  /// One computation.
  class Lane final : public Observer {
   public:
    explicit Lane(ProgressBar& bar) : bar_(bar) { bar_.lanes_.push_back(this); }
    ~Lane() override;
    Lane(const Lane&) = delete;
    Lane& operator=(const Lane&) = delete;
    void begin(const std::string& what) override;
    void progress(const Progress& progress) override;
    const std::string& shown() const { return shown_; }

   private:
    using Clock = std::chrono::steady_clock;
    std::string text(const Progress& progress) const;

    ProgressBar& bar_;
    std::string what_;
    bool started_ = false;
    std::int64_t samples_at_begin_ = 0;
    Clock::time_point began_, last_;
    std::string shown_;  // on the terminal
  };

  /// Draws what the lanes show, in place of what was drawn before.
  void draw();

  bool quiet_;
  std::vector<Lane*> lanes_;
  int rows_ = 0;  // drawn; the cursor stands in the last one
  Lane own_;
};

}  // namespace nepenthe
