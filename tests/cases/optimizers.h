// Settings of the optimisers.
#pragma once

#include <vector>

#include "kernels/optimizers.h"

namespace nepenthe::cases {

// Those that networks are trained with.
inline constexpr kernels::SgdSettings network_sgd{.momentum = 0.9f, .weight_decay = 5e-4f};
inline constexpr kernels::AdamSettings network_adam{};

/// Every combination.
inline std::vector<kernels::SgdSettings> sgd_settings() {
  std::vector<kernels::SgdSettings> all;
  for (const float momentum : {0.0f, 0.9f}) {
    for (const float dampening : {0.0f, 0.3f}) {
      for (const float weight_decay : {0.0f, 5e-4f}) {
        for (const bool nesterov : {false, true}) all.push_back({momentum, dampening, weight_decay, nesterov});
      }
    }
  }
  return all;
}

inline std::vector<kernels::AdamSettings> adam_settings() { return {network_adam, {.weight_decay = 5e-2f}}; }

}  // namespace nepenthe::cases
