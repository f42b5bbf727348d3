// Activations, for the ops that keep their shape or average them.
#pragma once

#include "kernels/shapes.h"
#include "tests/cases/case.h"

namespace nepenthe::kernels {

inline ImageShape with_batch(ImageShape shape, int batch) {
  shape.n = batch;
  return shape;
}

}  // namespace nepenthe::kernels

namespace nepenthe::cases {

using Image = Case<kernels::ImageShape>;

inline double elements(const kernels::ImageShape& s) { return static_cast<double>(s.size()); }

}  // namespace nepenthe::cases
