// Versions of the libraries beneath the kernels.
#pragma once

#include <string>

namespace nepenthe::kernels {

/// Of the oneDNN in use, for example "2.6.3".
std::string onednn_version();

}  // namespace nepenthe::kernels
