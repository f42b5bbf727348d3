// Convolutions.
#pragma once

#include "kernels/shapes.h"
#include "tests/cases/case.h"

namespace nepenthe::kernels {

inline Conv2dShape with_batch(Conv2dShape shape, int batch) {
  shape.n = batch;
  return shape;
}

}  // namespace nepenthe::kernels

namespace nepenthe::cases {

using Conv2d = Case<kernels::Conv2dShape>;

inline constexpr Conv2d conv2d_table[] = {
    {"stem of CIFAR's ResNets", {1, 32, 32, 3, 16, 3, 1, 1}, true},
    {"first stage", {1, 32, 32, 16, 16, 3, 1, 1}, true},
    {"into the second stage", {1, 32, 32, 16, 32, 3, 2, 1}, true},
    {"shortcut into the second stage", {1, 32, 32, 16, 32, 1, 2, 0}, true},
    {"second stage", {1, 16, 16, 32, 32, 3, 1, 1}, true},
    {"into the third stage", {1, 16, 16, 32, 64, 3, 2, 1}, true},
    {"shortcut into the third stage", {1, 16, 16, 32, 64, 1, 2, 0}, true},
    {"third stage", {1, 8, 8, 64, 64, 3, 1, 1}, true},
    {"stem of ImageNet's ResNets", {1, 224, 224, 3, 64, 7, 2, 3}, true},
    {"ImageNet's first stage", {1, 56, 56, 64, 64, 3, 1, 1}, true},
    {"into ImageNet's second stage", {1, 56, 56, 64, 128, 3, 2, 1}, true},
    {"shortcut into ImageNet's second stage", {1, 56, 56, 64, 128, 1, 2, 0}, true},
    {"ImageNet's second stage", {1, 28, 28, 128, 128, 3, 1, 1}, true},
    {"into ImageNet's third stage", {1, 28, 28, 128, 256, 3, 2, 1}, true},
    {"shortcut into ImageNet's third stage", {1, 28, 28, 128, 256, 1, 2, 0}, true},
    {"ImageNet's third stage", {1, 14, 14, 256, 256, 3, 1, 1}, true},
    {"into ImageNet's fourth stage", {1, 14, 14, 256, 512, 3, 2, 1}, true},
    {"shortcut into ImageNet's fourth stage", {1, 14, 14, 256, 512, 1, 2, 0}, true},
    {"ImageNet's fourth stage", {1, 7, 7, 512, 512, 3, 1, 1}, true},
    {"chunks and a rest", {17, 9, 7, 3, 16, 3, 1, 1}},
    {"one channel, no padding", {1, 5, 6, 1, 1, 3, 1, 0}},
    {"odd channels, stride 2", {3, 7, 5, 5, 24, 3, 2, 1}},
    {"ImageNet's stem, 11 px", {16, 11, 11, 3, 64, 7, 2, 3}},
    {"ImageNet's stem, 64 px", {1, 64, 64, 3, 64, 7, 2, 3}},
    {"ImageNet's stem, odd sides, chunks and a rest", {17, 13, 9, 3, 64, 7, 2, 3}},
    {"ImageNet's first stage, 64 px", {1, 16, 16, 64, 64, 3, 1, 1}},
    {"into ImageNet's second stage, 64 px", {1, 16, 16, 64, 128, 3, 2, 1}},
    {"shortcut into ImageNet's second stage, 64 px", {1, 16, 16, 64, 128, 1, 2, 0}},
    {"ImageNet's second stage, 64 px", {1, 8, 8, 128, 128, 3, 1, 1}},
    {"into ImageNet's third stage, 64 px", {1, 8, 8, 128, 256, 3, 2, 1}},
    {"shortcut into ImageNet's third stage, odd", {3, 5, 7, 128, 256, 1, 2, 0}},
    {"ImageNet's third stage, 64 px", {1, 4, 4, 256, 256, 3, 1, 1}},
    {"into ImageNet's fourth stage, 64 px", {1, 4, 4, 256, 512, 3, 2, 1}},
    {"into ImageNet's fourth stage, odd", {1, 7, 5, 256, 512, 3, 2, 1}},
    {"shortcut into ImageNet's fourth stage, 64 px", {1, 4, 4, 256, 512, 1, 2, 0}},
    {"ImageNet's fourth stage, 64 px", {1, 2, 2, 512, 512, 3, 1, 1}},
    {"ImageNet's fourth stage, 32 px", {1, 1, 1, 512, 512, 3, 1, 1}},
    {"shortcut of one pixel", {2, 1, 1, 32, 64, 1, 2, 0}},
    {"a kernel of one tap, padded", {2, 5, 6, 16, 32, 1, 2, 1}},
    {"a kernel smaller than its stride, padded", {2, 7, 8, 3, 16, 2, 3, 1}},
    {"into a stage from an even side", {3, 2, 4, 16, 32, 3, 2, 1}},
    {"whole vectors", {33, 8, 8, 16, 16, 3, 1, 1}},
    {"odd side, stride 2", {3, 9, 9, 16, 32, 3, 2, 1}},
    {"odd shortcut", {17, 7, 7, 16, 32, 1, 2, 0}},
    {"half vectors, pointwise", {3, 6, 5, 24, 5, 1, 1, 0}},
    {"half vectors", {1, 8, 8, 24, 32, 3, 1, 1}},
    {"Winograd's, odd", {3, 13, 9, 32, 32, 3, 1, 1}},
    {"Winograd's, many small", {133, 5, 5, 32, 64, 3, 1, 1}},
    {"Winograd's, chunks and a rest", {33, 8, 8, 64, 64, 3, 1, 1}},
    {"Winograd's, no padding", {1, 8, 8, 64, 32, 3, 1, 0}},
    {"mostly padding", {2, 3, 3, 64, 64, 3, 2, 1}},
    {"one pixel", {2, 1, 1, 32, 32, 3, 1, 1}},
    {"tiny", {2, 5, 4, 3, 2, 3, 1, 1}},
    {"tiny, what stride 2 leaves over", {1, 6, 7, 2, 3, 3, 2, 0}},
    {"tiny, a large kernel", {1, 7, 7, 1, 2, 7, 2, 3}},
};
inline constexpr std::span<const Conv2d> conv2d = conv2d_table;

/// Multiplications of the forward pass.
inline double products(const kernels::Conv2dShape& s) {
  return static_cast<double>(s.output().size()) * s.kernel * s.kernel * s.c;
}

}  // namespace nepenthe::cases
