#pragma once

#include "engine/parameters.h"
#include "engine/tape.h"

namespace nepenthe::ops {

/// y (N, H', W', K) = x (N, H, W, C) * the filters with index `weight`.
Variable conv2d(Pass& pass, const Variable& x, Parameters& parameters, int weight, int kernel, int stride, int padding,
                int out_channels);

}  // namespace nepenthe::ops
