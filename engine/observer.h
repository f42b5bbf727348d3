// Who watches a long computation, and how it is asked to stop.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

#include "engine/device.h"

namespace nepenthe {

/// Thrown at a safe point after stop_requested(): what was done so far is in the job's state file, if it has one.
struct Interrupted : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Watches a long computation, or several at once; calls come from the computing threads, one at a time.
class Observer {
 public:
  virtual ~Observer() = default;
  struct Progress {
    int epoch, epochs;                    // counted from 0
    std::int64_t samples, samples_total;  // of this job
    double loss, accuracy;                // running means of this epoch so far; NaN where there is none
  };
  virtual void begin(const std::string& /*what*/) {}
  virtual void progress(const Progress&) {}
  virtual bool stop_requested() { return false; }
  /// Whether progress() has to come after every step, at the price that a GPU may wait for it; else now and then there.
  virtual bool every_step() { return false; }
  /// The one that is told of the next of several computations at once, for as long as that takes; null: this one is
  /// told of all.
  virtual std::unique_ptr<Observer> lane() { return nullptr; }
};

/// Tells when the host should look at the device's numbers: after every step where that costs nothing, else now and
/// then, so that the device never waits for the next steps.
class Glances {
 public:
  Glances(Device& device, Observer& observer);
  bool due();

 private:
  using Clock = std::chrono::steady_clock;
  bool always_;
  Clock::time_point last_ = Clock::now();
};

}  // namespace nepenthe
