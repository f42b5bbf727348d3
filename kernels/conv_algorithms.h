// Which of cuDNN's engines compute the convolutions. Other engines give other bits, so they are part of a run's
// identity: recorded with it and replayed, never chosen anew by timing.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "kernels/exec_fwd.h"

namespace nepenthe::kernels {

struct ConvAlgorithm {
  std::int64_t index = 0;             // cuDNN's global index among the engines of this kind of convolution
  std::map<int, std::int64_t> knobs;  // cudnnBackendKnobType_t -> value, as set when it was chosen
  bool operator==(const ConvAlgorithm&) const = default;
};

/// By convolution, for example "backward_weights bf16 n128 h32 w32 c16 k16 r3 s1 p1".
using ConvAlgorithms = std::map<std::string, ConvAlgorithm>;

/// The engines in use: those given and those chosen since. None on the CPU.
const ConvAlgorithms& conv_algorithms(const CpuExec& exec);
const ConvAlgorithms& conv_algorithms(const CudaExec& exec);

/// Engines to take in place of own choices, for convolutions not yet run. Nothing happens on the CPU.
inline void use_conv_algorithms(CpuExec&, const ConvAlgorithms&) {}
void use_conv_algorithms(CudaExec& exec, const ConvAlgorithms& engines);

/// From here on a convolution's first run measures every deterministic engine and takes the fastest, in place of
/// cuDNN's first suggestion; its outputs are undefined then. False where there are no engines to measure.
inline bool measure_conv_algorithms(CpuExec&) { return false; }
bool measure_conv_algorithms(CudaExec& exec);

}  // namespace nepenthe::kernels
