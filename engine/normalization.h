// How pictures' values are normalised before a network sees them.
#pragma once

#include <array>

namespace nepenthe {

struct Normalization {
  std::array<float, 3> mean, std;  // of values scaled to [0, 1], a channel each
};

}  // namespace nepenthe
