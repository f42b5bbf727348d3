#pragma once

#include "engine/tape.h"

namespace nepenthe::ops {

/// y (N, 1, 1, C), fp32, = the mean of x (N, H, W, C) over H and W.
Variable global_avg_pool(Pass& pass, const Variable& x);

}  // namespace nepenthe::ops
