// Fully connected layers.
#pragma once

#include "kernels/shapes.h"
#include "tests/cases/case.h"

namespace nepenthe::kernels {

inline LinearShape with_batch(LinearShape shape, int batch) {
  shape.rows = batch;
  return shape;
}

}  // namespace nepenthe::kernels

namespace nepenthe::cases {

using Linear = Case<kernels::LinearShape>;

inline constexpr Linear linear_table[] = {
    {"head of CIFAR's ResNets", {1, 64, 100}, true},
    {"head of ImageNet's ResNets", {1, 512, 100}, true},
    {"one product", {1, 1, 1}},
    {"tiny", {3, 4, 5}},
    {"odd", {3, 5, 7}},
    {"parts and a rest", {17, 64, 100}},
    {"ten classes", {128, 64, 10}},
    {"larger, odd", {33, 37, 23}},
    {"deep", {16, 512, 100}},
};
inline constexpr std::span<const Linear> linear = linear_table;

/// Multiplications of the forward pass.
inline double products(const kernels::LinearShape& s) { return static_cast<double>(s.rows) * s.in * s.out; }

}  // namespace nepenthe::cases
