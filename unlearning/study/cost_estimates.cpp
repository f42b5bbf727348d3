#include "unlearning/study/cost_estimates.h"

#include <algorithm>
#include <span>

#include "engine/base/random.h"
#include "unlearning/sisa_plan.h"

namespace nepenthe {

std::vector<CostEstimate> estimate_costs(int samples, int unsliced_epochs, std::uint64_t seed) {
  constexpr int draws = 20;
  const std::vector<std::int32_t> permutation = make_permutation(samples, seed);
  // The first so many of another permutation are a random set.
  std::vector<std::vector<std::int32_t>> drawn;
  for (std::uint64_t draw = 1; draw <= draws; ++draw) drawn.push_back(make_permutation(samples, seed + draw));
  std::vector<CostEstimate> estimates;
  for (const int shards : {1, 2, 4, 8, 16}) {
    for (const int slices : {1, 2, 5, 10}) {
      if (samples < shards * slices) continue;
      const int epochs = (2 * unsliced_epochs + slices) / (slices + 1);
      const SisaPlan plan(permutation, shards, std::vector<int>(static_cast<std::size_t>(slices), epochs));
      for (const int requests : {1, 10, 100}) {
        if (requests >= samples) continue;
        CostEstimate estimate{.shards = shards,
                              .slices = slices,
                              .epochs = epochs,
                              .requests = requests,
                              .training_passes = plan.training({}).sample_passes(),
                              .draws = draws,
                              .formula_shards = expected_shards_touched(shards, requests)};
        if (requests == 1)
          estimate.formula_passes = expected_request_passes(static_cast<double>(samples) / shards, plan.epochs());
        std::int64_t passes = 0, touched = 0;
        for (const std::vector<std::int32_t>& order : drawn) {
          const SisaWork work = plan.request({}, std::span(order).first(static_cast<std::size_t>(requests)));
          passes += work.sample_passes();
          touched += std::ranges::count_if(work.shards, [](const ShardWork& shard) { return !shard.nothing_to_do(); });
        }
        estimate.request_passes = static_cast<double>(passes) / draws;
        estimate.shards_touched = static_cast<double>(touched) / draws;
        estimates.push_back(estimate);
      }
    }
  }
  return estimates;
}

}  // namespace nepenthe
