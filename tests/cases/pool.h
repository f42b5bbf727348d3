// Poolings.
#pragma once

#include "tests/cases/images.h"

namespace nepenthe::kernels {

inline PoolShape with_batch(PoolShape shape, int batch) {
  shape.n = batch;
  return shape;
}

}  // namespace nepenthe::kernels

namespace nepenthe::cases {

inline constexpr Image pool_table[] = {
    {"third stage of CIFAR's ResNets", {1, 8, 8, 64}, true},
    {"fourth stage of ImageNet's ResNets", {1, 7, 7, 512}, true},
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

using MaxPool = Case<kernels::PoolShape>;

inline constexpr MaxPool max_pool_table[] = {
    {"stem of ImageNet's ResNets", {1, 112, 112, 64, 3, 2, 1}, true},
    {"ImageNet's stem, 64 px", {2, 32, 32, 64, 3, 2, 1}},
    {"one element", {1, 1, 1, 1, 1, 1, 0}},
    {"tiny", {2, 4, 3, 2, 3, 2, 1}},
    {"odd sides", {3, 7, 9, 5, 3, 2, 1}},
    {"chunks and a rest", {17, 8, 8, 16, 3, 2, 1}},
    {"half vectors", {3, 5, 6, 24, 3, 2, 1}},
    {"no overlap, what is left over", {2, 7, 5, 32, 2, 2, 0}},
    {"pixels between the windows", {2, 9, 9, 16, 2, 3, 0}},
    {"stride 1", {2, 6, 6, 16, 3, 1, 1}},
    {"a window larger than the picture", {2, 2, 2, 8, 5, 1, 2}},
    {"the widest window", {1, 16, 17, 16, 16, 1, 8}},
};
inline constexpr std::span<const MaxPool> max_pool = max_pool_table;

inline double window_pixels(const kernels::PoolShape& s) {
  return static_cast<double>(s.output().size()) * s.kernel * s.kernel;
}

}  // namespace nepenthe::cases
