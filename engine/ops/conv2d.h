#pragma once

#include "engine/parameters.h"
#include "engine/tape.h"

namespace nepenthe::ops {

/// One convolution: the filters' index, and their shape.
struct Conv2dParameters {
  int weight, kernel, stride, padding, out_channels;
};

/// That of the convolution of x.
kernels::Conv2dShape conv2d_shape(const Variable& x, const Conv2dParameters& conv);

/// y (N, H', W', K) = x (N, H, W, C) * filters.
Variable conv2d(Pass& pass, const Variable& x, Parameters& parameters, const Conv2dParameters& conv);

}  // namespace nepenthe::ops
