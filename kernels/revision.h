// Which kernels these are.
#pragma once

#include <string>

namespace nepenthe::kernels {

/// Recorded with whatever is made on a CPU; another number whenever the bits of a kernel's results change.
inline const std::string cpu_revision = "CPU kernels 2";

}  // namespace nepenthe::kernels
