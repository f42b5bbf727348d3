// Rows of logits, for the losses.
#pragma once

#include "kernels/shapes.h"
#include "tests/cases/case.h"

namespace nepenthe::kernels {

inline LogitsShape with_batch(LogitsShape shape, int batch) {
  shape.rows = batch;
  return shape;
}

}  // namespace nepenthe::kernels

namespace nepenthe::cases {

using Logits = Case<kernels::LogitsShape>;

inline constexpr Logits logits_table[] = {
    {"CIFAR-100", {1, 100}, true}, {"one class", {1, 1}},      {"one row", {1, 10}}, {"tiny", {3, 5}}, {"odd", {33, 7}},
    {"a batch", {128, 100}},       {"many classes", {5, 257}},
};
inline constexpr std::span<const Logits> logits = logits_table;

inline double elements(const kernels::LogitsShape& s) { return static_cast<double>(s.rows) * s.classes; }

}  // namespace nepenthe::cases
