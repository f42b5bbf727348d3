#pragma once

#include "engine/tape.h"

namespace nepenthe::ops {

/// y (N, H', W', C) = the largest of x (N, H, W, C) in each square window of side `kernel` (kernels/pool.h).
Variable max_pool(Pass& pass, const Variable& x, int kernel, int stride, int padding);

/// y (N, 1, 1, C), fp32, = the mean of x (N, H, W, C) over H and W.
Variable global_avg_pool(Pass& pass, const Variable& x);

}  // namespace nepenthe::ops
