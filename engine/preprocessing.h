// What becomes of a picture before a network sees it.
#pragma once

#include <array>

namespace nepenthe {

struct Normalization {
  std::array<float, 3> mean, std;  // of values scaled to [0, 1], a channel each
  bool operator==(const Normalization&) const = default;
};

struct Preprocessing {
  Normalization normalization;
  int image_size = 32;  // side of the network's input, a multiple of the pictures': each pixel is repeated
};

}  // namespace nepenthe
