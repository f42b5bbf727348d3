// A set of labelled pictures in a device's memory, as bytes: what gather reads.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/preprocessing.h"
#include "engine/sample_set.h"

namespace nepenthe {

class ImageSet : public SampleSet {
 public:
  /// pixels: (count, 3, side, side) planar bytes; labels: (count), each in [0, classes). Throws std::invalid_argument
  /// where the image size is no multiple of the side.
  ImageSet(Device& device, const std::vector<std::uint8_t>& pixels, const std::vector<std::int32_t>& labels,
           const Preprocessing& preprocessing, int side = 32);
  /// The same pictures for a part of their device (Device), in the same memory: `shared` outlives this.
  ImageSet(Device& part, const ImageSet& shared) : ImageSet(shared) { device_ = &part; }

  int count() const { return static_cast<int>(labels_.size()); }
  /// Of the network's input.
  int image_size() const { return preprocessing_.image_size; }
  Device& device() const { return *device_; }
  /// (count), on the device.
  const DeviceArray<std::int32_t>& labels() const { return labels_; }

  /// Inputs: pictures (N, image size, image size, 3).
  Batch gather(const kernels::StepControl* control, int count,
               const std::optional<kernels::Augmentation>& augmentation) const override;
  Variable forward(Pass& pass, ModelState& model, const Variable& inputs) const override {
    return model.forward(pass, inputs);
  }

 private:
  Device* device_;
  DeviceArray<std::uint8_t> pixels_;
  DeviceArray<std::int32_t> labels_;
  Preprocessing preprocessing_;
  int scale_;
};

}  // namespace nepenthe
