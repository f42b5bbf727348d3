// An architecture: its layers, the names and places of its numbers, its forward pass and what that costs. It owns no
// numbers and knows no device, so asking it for a name, a shape or a cost allocates nothing.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "engine/parameter_layout.h"
#include "engine/tape.h"

namespace nepenthe {

class Parameters;

class Architecture {
 public:
  virtual ~Architecture() = default;
  Architecture(const Architecture&) = delete;
  Architecture& operator=(const Architecture&) = delete;

  /// The backbone: features (N, 1, 1, F), fp32, of images (N, H, W, 3), by the numbers in `parameters`, which have this
  /// layout.
  virtual Variable features(Pass& pass, Parameters& parameters, const Variable& images) const = 0;
  /// The head: logits (N, 1, 1, classes) of features.
  virtual Variable classify(Pass& pass, Parameters& parameters, const Variable& features) const = 0;
  /// Logits of images.
  Variable forward(Pass& pass, Parameters& parameters, const Variable& images) const {
    return classify(pass, parameters, features(pass, parameters, images));
  }

  /// Multiply-adds of a forward pass of one image with this side, and the head's part of them.
  virtual std::int64_t multiply_adds(int image_size) const = 0;
  virtual std::int64_t head_multiply_adds() const = 0;

  /// The registry's, for example "resnet32".
  const std::string& name() const { return name_; }
  int classes() const { return classes_; }
  /// The side of the pictures that it was made for.
  int image_size() const { return image_size_; }
  const ParameterLayout& layout() const { return layout_; }

 protected:
  Architecture(std::string name, int classes, int image_size)
      : name_(std::move(name)), classes_(classes), image_size_(image_size) {}
  ParameterLayout layout_;  // the layers fill it while they are built

 private:
  std::string name_;
  int classes_, image_size_;
};

}  // namespace nepenthe
