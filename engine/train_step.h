// One training step on the device: forward and backward passes of a phase's draws, then the optimiser.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/objective.h"
#include "engine/optimizer.h"
#include "kernels/gather.h"
#include "kernels/step_control.h"

namespace nepenthe {

/// A phase's steps. What they read and count in device memory stays where it is as long as this lives, or is found by a
/// StepControl that does: so steps can be captured and replayed.
class TrainStep {
 public:
  /// Keeps references to all of them, but none to the phase's ids.
  TrainStep(ModelState& model, Optimizer& optimizer, const Phase& phase,
            const std::optional<kernels::Augmentation>& augmentation);

  /// Whether the phase's steps are these: all is the same but for the ids, the sample sets and teachers being the very
  /// objects. Only then may a captured step be replayed for it.
  bool serves(const Phase& phase) const;

  /// Before the first of some steps: by draw, the order of the ids and where in it the steps begin; and what they start
  /// from.
  struct Start {
    std::vector<std::vector<std::int32_t>> orders;
    std::vector<std::size_t> offsets;
    kernels::StepControl control;  // order and offset are each draw's own
  };
  void begin(const Start& start);

  /// Issues one step on the next `counts` samples of the draws.
  void issue(const std::vector<int>& counts);

  /// Issues one from the start of the orders, on at most `count` samples a draw and with learning rate 0: for trying
  /// what a step needs.
  void try_on(int count);

  /// What has been counted since begin(), by draw; waits for the device.
  std::vector<kernels::StepControl> totals() const;

 private:
  /// What a step has of its draw.
  struct FixedDraw {
    explicit FixedDraw(const Draw& draw);
    bool operator==(const FixedDraw&) const = default;

    const SampleSet* samples;
    int batch;
    Losses losses;
    std::uint64_t samples_serial, teacher_serial;  // of what the pointers pointed to; 0: no teacher
  };

  void put_controls(const kernels::StepControl& control, const std::vector<std::size_t>& offsets);
  void pass_over(std::size_t draw, int count);

  ModelState& model_;
  Optimizer& optimizer_;
  std::vector<FixedDraw> draws_;
  std::optional<kernels::Augmentation> augmentation_;
  std::vector<DeviceArray<std::int32_t>> orders_;
  DeviceArray<kernels::StepControl> controls_;
};

}  // namespace nepenthe
