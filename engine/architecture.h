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

  /// logits (N, 1, 1, classes) of images (N, H, W, 3), by the numbers in `parameters`, which have this layout.
  virtual Variable forward(Pass& pass, Parameters& parameters, const Variable& images) const = 0;
  /// Multiply-adds of a forward pass of one image with this side.
  virtual std::int64_t multiply_adds(int image_side) const = 0;

  /// The registry's, for example "resnet32".
  const std::string& name() const { return name_; }
  int classes() const { return classes_; }
  const ParameterLayout& layout() const { return layout_; }

 protected:
  Architecture(std::string name, int classes) : name_(std::move(name)), classes_(classes) {}
  ParameterLayout layout_;  // the layers fill it while they are built

 private:
  std::string name_;
  int classes_;
};

}  // namespace nepenthe
