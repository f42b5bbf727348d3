#pragma once

#include "engine/parameters.h"
#include "engine/tape.h"

namespace nepenthe::ops {

/// y (N, 1, 1, out) = x (N, 1, 1, in) · weight (out, in)ᵀ + bias (out); tensors by index.
Variable linear(Pass& pass, const Variable& x, Parameters& parameters, int weight, int bias, int out);

}  // namespace nepenthe::ops
