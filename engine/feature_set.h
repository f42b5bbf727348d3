// What a frozen backbone makes of pictures, computed once: a head is trained on it without running the backbone again.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/image_set.h"
#include "engine/observer.h"

namespace nepenthe {

class FeatureSet : public SampleSet {
 public:
  /// The features that `model` gives these ids of `images`, in evaluation mode and without augmentation; only they may
  /// be drawn (others are NaN). A sample's features have the same bits in any company. They are in memory alone, for as
  /// long as this lives: nothing of a sample outlasts the program that computed it. Throws Interrupted, and Error where
  /// a feature is not finite.
  FeatureSet(ModelState& model, const ImageSet& images, const std::vector<std::int32_t>& ids, Observer& observer);

  /// Inputs: features (N, 1, 1, F). There is no augmentation of those: std::invalid_argument.
  Batch gather(const kernels::StepControl* control, int count,
               const std::optional<kernels::Augmentation>& augmentation) const override;
  Variable forward(Pass& pass, ModelState& model, const Variable& inputs) const override {
    return model.classify(pass, inputs);
  }

 private:
  Device* device_;
  DeviceArray<std::int32_t> labels_;
  int width_ = 0;              // F
  DeviceArray<float> rows_{};  // (pictures, F)
};

/// A byte for each float of the model's parameter buffer, on its device: 0 outside of the head (Objective::mask).
DeviceArray<std::uint8_t> head_mask(const ModelState& model);

}  // namespace nepenthe
