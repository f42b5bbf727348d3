// Tensors: activations and their gradients. A shape and shared memory; all the arithmetic is in kernels/ and ops/.
#pragma once

#include <memory>
#include <stdexcept>

#include "engine/device.h"
#include "kernels/shapes.h"

namespace nepenthe {

using kernels::ImageShape;

/// Numbers of logical shape (N, H, W, C), in the backend's layout (kernels/layout.h). A matrix (rows, columns) is
/// (rows, 1, 1, columns), which is plain row major in every layout. What a network computes on pictures has the
/// device's activation_type(); what comes behind the last pooling, and all statistics, is fp32. Copies share the
/// memory.
class Tensor {
 public:
  Tensor() = default;
  /// Contents undefined.
  Tensor(Device& device, const ImageShape& shape, ElementType type = ElementType::fp32)
      : shape_(shape), type_(type), memory_(device.arena().allocate(shape.size() * size_of(type))) {}

  const ImageShape& shape() const { return shape_; }
  ElementType type() const { return type_; }
  /// The numbers, T being float or bf16, whichever they are; throws std::logic_error for the other.
  template <class T>
  T* as() const {
    if (memory_ != nullptr && element_type<T> != type_)
      throw std::logic_error("[tensor] read as another type than it has");
    return static_cast<T*>(memory_.get());
  }
  float* data() const { return as<float>(); }
  explicit operator bool() const { return memory_ != nullptr; }

 private:
  static constexpr std::size_t size_of(ElementType type) { return type == ElementType::fp32 ? 4 : 2; }

  ImageShape shape_{};
  ElementType type_ = ElementType::fp32;
  std::shared_ptr<void> memory_;
};

}  // namespace nepenthe
