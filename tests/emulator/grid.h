// Runs a kernel's blocks on two OS threads, one under the race checker.
#pragma once

#include "block.h"

namespace cuda_emulator {

/// Runs the whole grid, device memory being accessible. Throws Error.
void run(const Launch& launch);

}  // namespace cuda_emulator
