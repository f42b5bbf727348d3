#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <set>
#include <stdexcept>
#include <vector>

#include "engine/base/error.h"
#include "unlearning/sisa_plan.h"

using namespace nepenthe;

namespace {

using Ids = std::vector<std::int32_t>;

const std::vector<int> study_epochs = {8, 7, 6, 5, 4};

SisaPlan study_plan() { return {make_permutation(50'000, 1), 4, study_epochs}; }

Ids ids_at(const SisaPlan& plan, int begin, int end) {
  return {plan.permutation().begin() + begin, plan.permutation().begin() + end};
}

std::vector<bool> skipped(const ShardWork& work) {
  std::vector<bool> result;
  for (const StageWork& stage : work.stages) result.push_back(stage.skipped);
  return result;
}

// The definition of STUDY §4 word by word, over sets.
struct Oracle {
  const SisaPlan& plan;

  Ids slice(int k, int t) const {
    const int n = plan.partition().samples(), s = plan.partition().shards(), r = plan.partition().slices();
    const int begin = k * n / s, size = (k + 1) * n / s - begin;
    return ids_at(plan, begin + (t - 1) * size / r, begin + t * size / r);
  }
  Ids stage(int k, int t, const std::set<std::int32_t>& forgotten) const {
    Ids ids;
    for (int u = 1; u <= t; ++u)
      for (const auto id : slice(k, u))
        if (!forgotten.contains(id)) ids.push_back(id);
    return ids;
  }
  bool holds(int k, int t, const std::set<std::int32_t>& ids) const {
    return std::ranges::any_of(slice(k, t), [&](auto id) { return ids.contains(id); });
  }
  bool wholly(int k, int t, const std::set<std::int32_t>& ids) const {
    return std::ranges::all_of(slice(k, t), [&](auto id) { return ids.contains(id); });
  }
};

}  // namespace

TEST_CASE("samples of the stages trained are the passes of one epoch each, and a skipped stage has none") {
  const SisaPlan once(make_permutation(100, 1), 2, {1, 1}), often(make_permutation(100, 1), 2, {3, 7});
  CHECK(once.training({}).stage_samples() == once.training({}).sample_passes());
  CHECK(often.training({}).stage_samples() == 2 * (25 + 50));
  const std::vector<std::int32_t> slice(often.permutation().begin(), often.permutation().begin() + 25);
  CHECK(often.request({}, slice).stage_samples() == 25);
}

TEST_CASE("sisa plan: training at the defaults costs 800 000 sample passes") {
  const SisaPlan plan = study_plan();
  const SisaWork work = plan.training({});
  CHECK(work.sample_passes() == 800'000);
  CHECK(work.forgotten.empty());
  REQUIRE(work.shards.size() == 4);
  for (const ShardWork& shard : work.shards) {
    CHECK(shard.first_stage == 1);
    CHECK(shard.samples == 12'500);
    CHECK(shard.sample_passes() == 200'000);
    REQUIRE(shard.stages.size() == 5);
    for (int t = 1; t <= 5; ++t) {
      const StageWork& stage = shard.stages[static_cast<std::size_t>(t - 1)];
      CHECK(stage.stage == t);
      CHECK(stage.epochs == 9 - t);
      CHECK(stage.samples == 2500 * t);
      CHECK(!stage.skipped);
    }
  }
}

TEST_CASE("sisa plan: the study's request costs 70 000") {
  const SisaPlan plan = study_plan();
  const SisaWork work = plan.request({}, ids_at(plan, 20'000, 30'000));
  CHECK(work.sample_passes() == 70'000);
  CHECK(work.newly_forgotten == 10'000);
  CHECK(work.forgotten.size() == 10'000);
  CHECK(std::ranges::is_sorted(work.forgotten));

  CHECK(work.shards[0].nothing_to_do());
  CHECK(work.shards[0].first_stage == 0);
  CHECK(work.shards[3].nothing_to_do());

  // Shard 1 becomes its CP3.
  CHECK(work.shards[1].first_stage == 4);
  CHECK(skipped(work.shards[1]) == std::vector<bool>{true, true});
  CHECK(work.shards[1].sample_passes() == 0);
  CHECK(work.shards[1].samples == 7500);

  // Shard 2 starts over, its first two slices gone.
  CHECK(work.shards[2].first_stage == 1);
  CHECK(skipped(work.shards[2]) == std::vector<bool>{true, true, false, false, false});
  CHECK(work.shards[2].stages[2].samples == 2500);
  CHECK(work.shards[2].stages[4].samples == 7500);
  CHECK(work.shards[2].sample_passes() == 6 * 2500 + 5 * 5000 + 4 * 7500);

  CHECK(plan.within_shard(0, work.forgotten).empty());
  CHECK(plan.within_shard(1, work.forgotten).size() == 5000);

  // Training without them from the start takes the same stages.
  const SisaWork scratch = plan.training(work.forgotten);
  CHECK(skipped(scratch.shards[1]) == std::vector<bool>{false, false, false, true, true});
  CHECK(skipped(scratch.shards[2]) == skipped(work.shards[2]));
  CHECK(scratch.sample_passes() == 800'000 - 200'000 - 200'000 + (8 * 2500 + 7 * 5000 + 6 * 7500) + 70'000);
}

TEST_CASE("sisa plan: a second request leaves out the union, and only what is new sends a shard back") {
  const SisaPlan plan = study_plan();
  const Ids first = ids_at(plan, 20'000, 30'000);
  // Shard 1: one sample of slice 2 is new, and slice 4 was asked for before.
  const Ids second = {plan.permutation()[15'000], plan.permutation()[20'000], plan.permutation()[20'000]};
  const SisaWork work = plan.request(first, second);
  CHECK(work.newly_forgotten == 1);
  CHECK(work.forgotten.size() == 10'001);
  CHECK(work.shards[2].nothing_to_do());
  CHECK(work.shards[1].first_stage == 2);
  CHECK(skipped(work.shards[1]) == std::vector<bool>{false, false, true, true});
  CHECK(work.sample_passes() == 7 * 4999 + 6 * 7499);
  // Nothing new: nothing to do anywhere.
  const SisaWork again = plan.request(work.forgotten, first);
  CHECK(again.newly_forgotten == 0);
  CHECK(again.sample_passes() == 0);
  CHECK(again.forgotten == work.forgotten);
  for (const ShardWork& shard : again.shards) CHECK(shard.nothing_to_do());
}

TEST_CASE("sisa plan: a shard with nothing left") {
  const SisaPlan plan = study_plan();
  const SisaWork work = plan.request({}, ids_at(plan, 12'500, 25'000));
  CHECK(work.shards[1].samples == 0);
  CHECK(work.shards[1].first_stage == 1);
  CHECK(skipped(work.shards[1]) == std::vector<bool>(5, true));
  CHECK(work.sample_passes() == 0);
  CHECK(work.shards[0].samples == 12'500);
}

TEST_CASE("sisa plan: chains of random requests against the definition") {
  std::mt19937 draw(5);
  const auto below = [&](int bound) { return static_cast<int>(draw() % static_cast<unsigned>(bound)); };
  for (int round = 0; round < 150; ++round) {
    const int n = 20 + below(150), shards = 1 + below(6), slices = 1 + below(std::min(6, n / shards));
    std::vector<int> epochs;
    for (int t = 0; t < slices; ++t) epochs.push_back(1 + below(9));
    const SisaPlan plan(make_permutation(n, draw()), shards, epochs);
    const Oracle oracle{plan};
    std::set<std::int32_t> forgotten;
    for (int request = 0; request < 4; ++request) {
      Ids asked;
      if (below(2)) {  // clustered, whole slices among them
        const int begin = below(n), end = begin + 1 + below(n - begin);
        asked = ids_at(plan, begin, begin + std::min(end - begin, 1 + n / 3));
      } else {
        for (int i = 1 + below(8); i > 0; --i) asked.push_back(below(n));
      }
      const Ids before(forgotten.begin(), forgotten.end());
      std::set<std::int32_t> fresh;
      for (const auto id : asked)
        if (!forgotten.contains(id)) fresh.insert(id);
      const SisaWork work = plan.request(before, asked);
      forgotten.insert(fresh.begin(), fresh.end());
      const Ids all(forgotten.begin(), forgotten.end());
      CHECK(work.forgotten == all);
      CHECK(work.newly_forgotten == static_cast<int>(fresh.size()));
      std::int64_t cost = 0;
      for (int k = 0; k < shards; ++k) {
        const ShardWork& shard = work.shards[static_cast<std::size_t>(k)];
        int m = 0;
        for (int t = slices; t >= 1; --t)
          if (oracle.holds(k, t, fresh)) m = t;
        CHECK(shard.shard == k);
        CHECK(shard.first_stage == m);
        CHECK(shard.samples == static_cast<int>(oracle.stage(k, slices, forgotten).size()));
        CHECK(shard.stages.size() == static_cast<std::size_t>(m == 0 ? 0 : slices - m + 1));
        for (const StageWork& stage : shard.stages) {
          const Ids ids = oracle.stage(k, stage.stage, forgotten);
          CHECK(plan.stage_ids(k, stage.stage, all) == ids);
          CHECK(stage.samples == static_cast<int>(ids.size()));
          CHECK(stage.skipped == oracle.wholly(k, stage.stage, forgotten));
          CHECK(stage.epochs == epochs[static_cast<std::size_t>(stage.stage - 1)]);
          if (!stage.skipped) cost += stage.epochs * static_cast<std::int64_t>(ids.size());
          // Nothing left to train on always counts as skipped.
          CHECK((stage.skipped || !ids.empty()));
        }
        // What stays is as it was: no border moved, in every earlier stage the same samples as before the request.
        for (int t = 1; t < (m == 0 ? slices + 1 : m); ++t)
          CHECK(plan.stage_ids(k, t, all) == plan.stage_ids(k, t, before));
      }
      CHECK(work.sample_passes() == cost);
      // Redone stages are those of training from scratch without the union.
      const SisaWork scratch = plan.training(all);
      for (const ShardWork& shard : work.shards)
        for (const StageWork& stage : shard.stages) {
          const StageWork& same =
              scratch.shards[static_cast<std::size_t>(shard.shard)].stages[static_cast<std::size_t>(stage.stage - 1)];
          CHECK(same.samples == stage.samples);
          CHECK(same.skipped == stage.skipped);
        }
    }
  }
}

TEST_CASE("sisa plan: the analysis against simulation") {
  CHECK(expected_request_passes(12'500, study_epochs) == doctest::Approx(135'000).epsilon(1e-12));
  // The formula for equal epochs is the general one with 2e₀/(R+1) in every stage.
  for (const int slices : {1, 3, 5, 9, 19}) {
    const std::vector<int> equal(static_cast<std::size_t>(slices), 4);  // e₀ = 2(R+1)
    CHECK(expected_request_passes(1000, equal) ==
          doctest::Approx(expected_request_passes_equal_epochs(1000, 2.0 * (slices + 1), slices)).epsilon(1e-12));
  }
  // Every single-sample request, counted by the plan: exact but for the one sample left out.
  const SisaPlan plan(make_permutation(2000, 3), 4, study_epochs);
  double total = 0;
  for (std::int32_t id = 0; id < 2000; ++id) total += static_cast<double>(plan.request({}, Ids{id}).sample_passes());
  // Mean over m of Σ_{t≥m} e_t: each redone stage has one sample less.
  double one_less = 0;
  for (int m = 1; m <= 5; ++m)
    for (int t = m; t <= 5; ++t) one_less += study_epochs[static_cast<std::size_t>(t - 1)] / 5.0;
  CHECK(total / 2000 == doctest::Approx(expected_request_passes(500, study_epochs) - one_less).epsilon(1e-12));
}

TEST_CASE("sisa plan: shards touched by a batch of requests, against simulation") {
  CHECK(expected_shards_touched(1, 10) == doctest::Approx(1));
  CHECK(expected_shards_touched(4, 1) == doctest::Approx(1));
  const SisaPlan plan(make_permutation(1000, 3), 10, {1, 1});
  std::mt19937 draw(2);
  for (const int requests : {1, 5, 20, 30}) {
    const int rounds = 1000;
    double touched = 0;
    for (int round = 0; round < rounds; ++round) {
      Ids ids;
      for (int i = 0; i < requests; ++i) ids.push_back(static_cast<std::int32_t>(draw() % 1000));
      for (const ShardWork& shard : plan.request({}, ids).shards) touched += !shard.nothing_to_do();
    }
    // The number touched has a standard deviation below 1.2 shards: 0.15 is four standard errors.
    CHECK(std::abs(touched / rounds - expected_shards_touched(10, requests)) < 0.15);
  }
}

TEST_CASE("sisa plan: errors") {
  CHECK_THROWS_AS(SisaPlan(make_permutation(10, 1), 4, std::vector<int>(3, 1)), UsageError);
  CHECK_THROWS_AS(SisaPlan(make_permutation(10, 1), 1, {}), UsageError);
  CHECK_THROWS_WITH_AS(SisaPlan(make_permutation(10, 1), 2, {1, 0}), "stage 2 has 0 epochs: use at least 1",
                       UsageError);
  const SisaPlan plan(make_permutation(10, 1), 2, {1, 1});
  CHECK_THROWS_AS(plan.training(Ids{10}), std::invalid_argument);
  CHECK_THROWS_AS(plan.request({}, Ids{-1}), std::invalid_argument);
  CHECK_THROWS_AS(plan.stage_ids(0, 3, {}), std::out_of_range);
  CHECK_THROWS_AS(plan.stage_ids(2, 1, {}), std::out_of_range);
}
