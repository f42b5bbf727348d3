// A convolution together with the normalisation before or behind it, where the backend's convolutions can; elsewhere
// one after the other.
#pragma once

#include "engine/ops/batch_norm.h"
#include "engine/ops/conv2d.h"

namespace nepenthe::ops {

/// y (N, H', W', K) = relu(norm(x)) (N, H, W, C) * filters. Fused in training: what lies between is not kept for the
/// backward pass but computed again.
Variable norm_conv2d(Pass& pass, const Variable& x, Parameters& parameters, const BatchNormParameters& norm,
                     const Conv2dParameters& conv);

/// y (N, H', W', K) = relu?(norm(x * filters) [+ residual]). Fused in evaluation.
Variable conv2d_norm(Pass& pass, const Variable& x, const Variable& residual, Parameters& parameters,
                     const Conv2dParameters& conv, const BatchNormParameters& norm, bool relu);

}  // namespace nepenthe::ops
