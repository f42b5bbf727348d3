// What deletion requests cost by SISA's plan, laid beside the formulas (STUDY §4): for planning shards and slices.
#pragma once

#include <cstdint>
#include <vector>

#include "unlearning/study/record.h"

namespace nepenthe {

/// For shards of 1 … 16, slices of 1 … 10 and requests of 1, 10 and 100 random samples, as far as `samples` allow them.
/// Every setting trains about as much as `unsliced_epochs` over everything: equal epochs ⌈2e₀/(R+1)⌉ in every stage.
/// Draws are keyed by the seed.
std::vector<CostEstimate> estimate_costs(int samples, int unsliced_epochs, std::uint64_t seed);

}  // namespace nepenthe
