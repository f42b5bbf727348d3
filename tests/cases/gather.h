// Gathered batches.
#pragma once

#include <optional>

#include "tests/cases/images.h"

namespace nepenthe::cases {

struct Gathering {
  kernels::ImageShape shape;
  std::optional<int> padding;  // of the augmentation; none: there is none
  unsigned offset = 0;         // where the batch begins in the epoch's order
  int scale = 1;               // how many times the pictures are enlarged
};
inline Gathering with_batch(Gathering gathering, int batch) {
  gathering.shape.n = batch;
  return gathering;
}

inline constexpr Case<Gathering> gather_table[] = {
    {"CIFAR's, augmented", {{1, 32, 32, 3}, 4}, true},
    {"ImageNet's from CIFAR's", {{1, 224, 224, 3}, 4, 0, 7}, true},
    {"enlarged", {{19, 18, 14, 3}, std::nullopt, 3, 2}},
    {"enlarged, beyond the picture", {{19, 27, 21, 3}, 12, 1, 3}},
    {"one pixel enlarged", {{2, 5, 5, 3}, 1, 0, 5}},
    {"plain", {{133, 9, 7, 3}, std::nullopt}},
    {"plain, later in the epoch", {{133, 9, 7, 3}, std::nullopt, 41}},
    {"flips alone", {{133, 9, 7, 3}, 0}},
    {"by a pixel", {{133, 9, 7, 3}, 1, 1}},
    {"by four", {{133, 9, 7, 3}, 4, 4}},
    {"beyond the picture", {{133, 9, 7, 3}, 12, 12}},
    {"one pixel", {{2, 1, 1, 3}, std::nullopt, 1}},
};
inline constexpr std::span<const Case<Gathering>> gather = gather_table;

}  // namespace nepenthe::cases
