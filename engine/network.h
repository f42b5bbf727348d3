// A network: an architecture's forward function over one model's Parameters.
#pragma once

#include <cstdint>
#include <string>

#include "engine/parameters.h"
#include "engine/tape.h"

namespace nepenthe {

class Network {
 public:
  virtual ~Network() = default;

  /// logits (N, 1, 1, classes) of images (N, H, W, 3).
  virtual Variable forward(Pass& pass, const Variable& images) = 0;
  /// Multiply-adds of a forward pass of one image with this side.
  virtual std::int64_t multiply_adds(int image_side) const = 0;

  /// The registry's name of the architecture, for example "resnet32".
  virtual const std::string& architecture() const = 0;
  virtual int classes() const = 0;
  virtual Parameters& parameters() = 0;
};

}  // namespace nepenthe
