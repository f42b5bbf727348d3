// Global average poolings.
#pragma once

#include "tests/cases/images.h"

namespace nepenthe::cases {

inline constexpr Image pool_table[] = {
    {"third stage of CIFAR's ResNets", {1, 8, 8, 64}, true},
    {"one element", {1, 1, 1, 1}},
    {"tiny", {2, 3, 2, 3}},
    {"odd", {3, 7, 5, 5}},
    {"chunks and a rest", {17, 8, 8, 64}},
    {"half vectors", {33, 3, 3, 24}},
    {"whole vectors", {16, 5, 4, 32}},
    {"pictures", {2, 33, 31, 3}},
    {"twelve channels", {3, 4, 4, 12}},
    {"many channels", {2, 2, 3, 520}},
};
inline constexpr std::span<const Image> pool = pool_table;

}  // namespace nepenthe::cases
