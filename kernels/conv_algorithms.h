// Which of cuDNN's engines compute the convolutions. Other engines give other bits, so they are part of a run's
// identity: recorded with it and replayed, never chosen anew by timing.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace nepenthe::kernels {

struct ConvAlgorithm {
  std::int64_t index = 0;             // cuDNN's global index among the engines of this kind of convolution
  std::map<int, std::int64_t> knobs;  // cudnnBackendKnobType_t -> value, as set when it was chosen
  bool operator==(const ConvAlgorithm&) const = default;
};

/// By convolution, for example "backward_weights bf16 n128 h32 w32 c16 k16 r3 s1 p1".
using ConvAlgorithms = std::map<std::string, ConvAlgorithm>;

}  // namespace nepenthe::kernels
