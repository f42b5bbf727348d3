// Labelled samples in a device's memory, as trainings and evaluations draw them in batches.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/base/serial.h"
#include "engine/model_state.h"
#include "kernels/gather.h"

namespace nepenthe {

class SampleSet {
 public:
  virtual ~SampleSet() = default;

  struct Batch {
    Tensor inputs;
    DeviceArray<std::int32_t> labels;  // (N)
  };
  /// The next `count` samples of the order of ids that `control`, in device memory, names, augmented if asked for.
  virtual Batch gather(const kernels::StepControl* control, int count,
                       const std::optional<kernels::Augmentation>& augmentation) const = 0;

  /// A model's logits (N, 1, 1, classes) for a batch's inputs.
  virtual Variable forward(Pass& pass, ModelState& model, const Variable& inputs) const = 0;

  /// Tells this set from any other there is or was: what captured steps read of it never changes.
  std::uint64_t serial() const { return serial_.number(); }

 private:
  Serial serial_;
};

}  // namespace nepenthe
