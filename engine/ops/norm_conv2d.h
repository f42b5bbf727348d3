#pragma once

#include "engine/ops/batch_norm.h"

namespace nepenthe::ops {

/// y (N, H', W', K) = relu(norm(x)) (N, H, W, C) * the filters with index `weight`; the same bits as batch_norm and
/// conv2d one after the other. In training, where the backend's convolutions normalise their own input, what lies
/// between is not kept for the backward pass but computed again.
Variable norm_conv2d(Pass& pass, const Variable& x, Parameters& parameters, const BatchNormParameters& norm, int weight,
                     int kernel, int stride, int padding, int out_channels);

}  // namespace nepenthe::ops
