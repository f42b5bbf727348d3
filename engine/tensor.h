// Tensors: activations and their gradients. A shape and shared memory; all the arithmetic is in kernels/ and ops/.
#pragma once

#include <memory>

#include "engine/device.h"
#include "kernels/shapes.h"

namespace nepenthe {

using kernels::ImageShape;

/// fp32 values of logical shape (N, H, W, C), in the backend's layout (kernels/exec.h). A matrix (rows, columns) is
/// (rows, 1, 1, columns), which is plain row major in every layout. Copies share the memory.
class Tensor {
 public:
  Tensor() = default;
  /// Contents undefined.
  Tensor(Device& device, const ImageShape& shape)
      : shape_(shape), memory_(device.arena().allocate(shape.size() * sizeof(float))) {}

  const ImageShape& shape() const { return shape_; }
  float* data() const { return static_cast<float*>(memory_.get()); }
  explicit operator bool() const { return memory_ != nullptr; }

 private:
  ImageShape shape_{};
  std::shared_ptr<void> memory_;
};

}  // namespace nepenthe
