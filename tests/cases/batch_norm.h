// Batch normalisations: images, each with and without a residual and a ReLU.
#pragma once

#include "tests/cases/images.h"

namespace nepenthe::cases {

// Both one block and several of a GPU's; 264 channels are more than its threads combine at once.
inline constexpr Image batch_norm_table[] = {
    {"first stage of CIFAR's ResNets", {1, 32, 32, 16}, true},
    {"second stage", {1, 16, 16, 32}, true},
    {"third stage", {1, 8, 8, 64}, true},
    {"ImageNet's stem", {1, 112, 112, 64}, true},
    {"ImageNet's first stage", {1, 56, 56, 64}, true},
    {"ImageNet's second stage", {1, 28, 28, 128}, true},
    {"ImageNet's third stage", {1, 14, 14, 256}, true},
    {"ImageNet's fourth stage", {1, 7, 7, 512}, true},
    {"one pixel", {1, 1, 1, 16}},
    {"one pixel, planar", {1, 1, 1, 3}},
    {"one channel", {1, 5, 3, 1}},
    {"tiny", {3, 3, 2, 4}},
    {"odd", {3, 7, 5, 5}},
    {"half vectors", {16, 3, 3, 24}},
    {"chunks and a rest, odd", {17, 5, 5, 16}},
    {"chunks and a rest", {17, 8, 8, 16}},
    {"flat", {33, 4, 2, 64}},
    {"two vectors", {33, 4, 3, 32}},
    {"many small", {133, 2, 3, 64}},
    {"large", {2, 33, 31, 8}},
    {"twelve channels", {5, 9, 9, 12}},
    {"one large channel", {1, 47, 45, 1}},
    {"pictures", {3, 17, 13, 3}},
    {"many channels", {2, 5, 3, 264}},
    {"many channels, whole blocks", {2, 3, 2, 512}},
};
inline constexpr std::span<const Image> batch_norm = batch_norm_table;

}  // namespace nepenthe::cases
