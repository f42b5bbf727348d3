#include "unlearning/sisa_plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>

#include "engine/base/error.h"

namespace nepenthe {
namespace {

template <class Works>
std::int64_t sum_of_passes(const Works& works) {
  return std::accumulate(works.begin(), works.end(), std::int64_t{0},
                         [](std::int64_t sum, const auto& work) { return sum + work.sample_passes(); });
}

std::vector<std::int32_t> sorted_ids(const std::vector<bool>& marked, std::span<const std::int32_t> permutation,
                                     PositionRange range) {
  std::vector<std::int32_t> ids;
  for (int position = range.begin; position < range.end; ++position)
    if (marked[static_cast<std::size_t>(position)]) ids.push_back(permutation[static_cast<std::size_t>(position)]);
  std::ranges::sort(ids);
  return ids;
}

}  // namespace

std::int64_t ShardWork::sample_passes() const { return sum_of_passes(stages); }
int SisaWork::shards_at_once(int wanted) const {
  const auto busy = std::ranges::count_if(shards, [](const ShardWork& shard) { return shard.sample_passes() > 0; });
  return std::clamp(wanted, 1, std::max(static_cast<int>(busy), 1));
}
std::int64_t SisaWork::stage_samples() const {
  std::int64_t samples = 0;
  for (const ShardWork& shard : shards) {
    for (const StageWork& stage : shard.stages) samples += stage.skipped ? 0 : stage.samples;
  }
  return samples;
}

std::int64_t SisaWork::sample_passes() const { return sum_of_passes(shards); }

bool SisaWork::nothing_to_do() const { return std::ranges::all_of(shards, &ShardWork::nothing_to_do); }

SisaPlan::SisaPlan(std::vector<std::int32_t> permutation, int shards, std::vector<int> epochs)
    : permutation_(std::move(permutation)),
      positions_(positions_of(permutation_)),
      epochs_(std::move(epochs)),
      partition_(static_cast<int>(permutation_.size()), shards, static_cast<int>(epochs_.size())) {
  for (std::size_t i = 0; i < epochs_.size(); ++i)
    if (epochs_[i] < 1) throw UsageError(fmt::format("stage {} has {} epochs: use at least 1", i + 1, epochs_[i]));
}

std::vector<bool> SisaPlan::mark(std::span<const std::int32_t> ids) const {
  std::vector<bool> marked(positions_.size(), false);
  for (const std::int32_t id : ids) {
    if (id < 0 || static_cast<std::size_t>(id) >= positions_.size())
      throw std::invalid_argument(fmt::format("[sisa_plan] id {} of {} samples", id, positions_.size()));
    marked[static_cast<std::size_t>(positions_[static_cast<std::size_t>(id)])] = true;
  }
  return marked;
}

std::vector<std::int32_t> SisaPlan::stage_ids(int k, int t, std::span<const std::int32_t> forgotten) const {
  const std::vector<bool> marked = mark(forgotten);
  const int end = partition_.slice(k, t).end;
  std::vector<std::int32_t> ids;
  for (int position = partition_.shard(k).begin; position < end; ++position)
    if (!marked[static_cast<std::size_t>(position)]) ids.push_back(permutation_[static_cast<std::size_t>(position)]);
  return ids;
}

std::vector<std::int32_t> SisaPlan::within_shard(int k, std::span<const std::int32_t> ids) const {
  return sorted_ids(mark(ids), permutation_, partition_.shard(k));
}

ShardWork SisaPlan::shard_work(int k, int first, const std::vector<bool>& forgotten) const {
  ShardWork work;
  work.shard = k;
  work.first_stage = first;
  for (int t = 1; t <= partition_.slices(); ++t) {
    const PositionRange slice = partition_.slice(k, t);
    const auto in_slice =
        static_cast<int>(std::count(forgotten.begin() + slice.begin, forgotten.begin() + slice.end, false));
    work.samples += in_slice;
    if (first > 0 && t >= first)
      work.stages.push_back({.stage = t,
                             .epochs = epochs_[static_cast<std::size_t>(t - 1)],
                             .samples = work.samples,
                             .skipped = in_slice == 0});
  }
  return work;
}

SisaWork SisaPlan::training(std::span<const std::int32_t> excluded) const {
  const std::vector<bool> marked = mark(excluded);
  SisaWork work;
  work.forgotten = sorted_ids(marked, permutation_, {0, partition_.samples()});
  work.newly_forgotten = static_cast<int>(work.forgotten.size());
  for (int k = 0; k < partition_.shards(); ++k) work.shards.push_back(shard_work(k, 1, marked));
  return work;
}

SisaWork SisaPlan::request(std::span<const std::int32_t> already, std::span<const std::int32_t> requested) const {
  std::vector<bool> forgotten = mark(already);
  const std::vector<bool> asked = mark(requested);
  SisaWork work;
  std::vector<int> first_stage(static_cast<std::size_t>(partition_.shards()), 0);
  for (int position = 0; position < partition_.samples(); ++position) {
    const auto i = static_cast<std::size_t>(position);
    if (!asked[i] || forgotten[i]) continue;
    forgotten[i] = true;
    ++work.newly_forgotten;
    // Positions ascend, so the first one met in a shard lies in its earliest slice.
    const Partition::Place place = partition_.slice_of(position);
    int& first = first_stage[static_cast<std::size_t>(place.shard)];
    if (first == 0) first = place.slice;
  }
  work.forgotten = sorted_ids(forgotten, permutation_, {0, partition_.samples()});
  for (int k = 0; k < partition_.shards(); ++k)
    work.shards.push_back(shard_work(k, first_stage[static_cast<std::size_t>(k)], forgotten));
  return work;
}

double expected_request_passes(double shard_samples, std::span<const int> epochs) {
  const auto slices = static_cast<double>(epochs.size());
  double sum = 0;
  // Stage t is redone for each of the m = 1 … t.
  for (std::size_t t = 1; t <= epochs.size(); ++t)
    sum += static_cast<double>(t) * epochs[t - 1] * (static_cast<double>(t) * shard_samples / slices);
  return sum / slices;
}

double expected_request_passes_equal_epochs(double shard_samples, double unsliced_epochs, int slices) {
  return unsliced_epochs * shard_samples * (2.0 / 3.0 + 1.0 / (3.0 * slices));
}

double expected_shards_touched(int shards, std::int64_t requests) {
  return shards * (1 - std::pow(1 - 1.0 / shards, static_cast<double>(requests)));
}

}  // namespace nepenthe
