// The libraries beneath the kernels: their versions, and what they offer.
#pragma once

#include <string>

namespace nepenthe::kernels {

class CpuExec;

/// Of the oneDNN in use, for example "2.6.3".
std::string onednn_version();

/// How it computes convolutions with this instruction set, as it answers itself: "oneDNN 2.6.3: direct convolutions and
/// Winograd's", or "oneDNN 3.6.2: direct convolutions; Winograd's algorithm is not offered" where it would have suited.
std::string onednn_convolutions(CpuExec& exec);

}  // namespace nepenthe::kernels
