#pragma once

#include "engine/parameters.h"
#include "engine/tape.h"

namespace nepenthe::ops {

/// The tensors of one batch normalisation, by index.
struct BatchNormParameters {
  int weight, bias, running_mean, running_var;
};

/// y = relu?(norm(x) [+ residual]), with the batch's statistics in training mode (which moves the running ones) and the
/// running ones otherwise. `residual` may be null.
Variable batch_norm(Pass& pass, const Variable& x, const Variable& residual, Parameters& parameters,
                    const BatchNormParameters& norm, bool relu);

}  // namespace nepenthe::ops
