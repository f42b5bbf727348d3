// A set of labelled pictures in a device's memory, as bytes: what gather reads.
#pragma once

#include <cstdint>
#include <span>

#include "engine/device.h"
#include "engine/normalization.h"
#include "engine/tensor.h"
#include "kernels/gather.h"

namespace nepenthe {

class ImageSet {
 public:
  /// pixels: (count, 3, side, side) planar bytes; labels: (count), each in [0, classes).
  ImageSet(Device& device, const std::vector<std::uint8_t>& pixels, const std::vector<std::int32_t>& labels,
           const Normalization& normalization, int side = 32);

  int count() const { return static_cast<int>(labels_.size()); }
  int side() const { return side_; }
  Device& device() const { return *device_; }

  struct Batch {
    Tensor images;                     // (N, side, side, 3)
    DeviceArray<std::int32_t> labels;  // (N)
  };
  /// The next `count` pictures of an order of ids, normalised, augmented if asked for. `order` and `control`, which
  /// says where in the order, are in device memory.
  Batch gather(const std::int32_t* order, const kernels::StepControl* control, int count,
               const std::optional<kernels::Augmentation>& augmentation) const;

 private:
  Device* device_;
  DeviceArray<std::uint8_t> pixels_;
  DeviceArray<std::int32_t> labels_;
  Normalization normalization_;
  int side_;
};

}  // namespace nepenthe
