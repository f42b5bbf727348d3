#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

#include "unlearning/metrics.h"

using namespace nepenthe;

namespace {

using Logits = std::vector<std::vector<float>>;  // (shards, N · classes)

EnsembleScores score(const Logits& logits, int classes, const std::vector<std::int32_t>& labels) {
  const std::vector<std::span<const float>> shards(logits.begin(), logits.end());
  return score_ensemble(shards, classes, labels);
}

// Plain softmax and means in long double, ranks by really sorting the classes.
struct Brute {
  std::vector<long double> mean;
  std::vector<int> votes;

  Brute(const Logits& logits, int classes, std::size_t row)
      : mean(static_cast<std::size_t>(classes), 0), votes(static_cast<std::size_t>(classes), 0) {
    for (const auto& shard : logits) {
      const auto* z = shard.data() + row * static_cast<std::size_t>(classes);
      long double sum = 0, largest = *std::max_element(z, z + classes);
      int vote = 0;
      for (int c = 0; c < classes; ++c) {
        sum += std::exp(z[c] - largest);
        if (z[c] > z[vote]) vote = c;
      }
      ++votes[static_cast<std::size_t>(vote)];
      for (int c = 0; c < classes; ++c)
        mean[static_cast<std::size_t>(c)] += std::exp(z[c] - largest) / sum / static_cast<long double>(logits.size());
    }
  }
  std::int32_t rank(std::int32_t label, bool by_votes) const {
    std::vector<std::int32_t> order(mean.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, [&](std::int32_t a, std::int32_t b) {
      const auto i = static_cast<std::size_t>(a), j = static_cast<std::size_t>(b);
      if (by_votes && votes[i] != votes[j]) return votes[i] > votes[j];
      return mean[i] > mean[j];
    });
    return static_cast<std::int32_t>(std::ranges::find(order, label) - order.begin());
  }
};

}  // namespace

TEST_CASE("metrics: counts and means") {
  const std::vector<float> losses = {0.5f, 1.5f, 0.25f, 3.75f};
  const std::vector<std::int32_t> ranks = {0, 4, 5, 0};
  const Metrics metrics = measure(losses, ranks);
  CHECK(metrics.count == 4);
  CHECK(metrics.top1 == 0.5);
  CHECK(metrics.top5 == 0.75);
  CHECK(metrics.loss == 1.5);
  CHECK(!measure_ranks(ranks).loss.has_value());
  CHECK(measure_ranks(ranks).top5 == 0.75);
  CHECK(measure(std::vector<double>{2.0}, std::vector<std::int32_t>{1}).loss == 2.0);
  const Metrics empty = measure(std::span<const float>(), {});
  CHECK(empty.count == 0);
  CHECK(std::isnan(empty.top1));
  CHECK(!empty.loss.has_value());
  CHECK_THROWS_AS(measure(losses, std::vector<std::int32_t>{0}), std::invalid_argument);
}

TEST_CASE("metrics: ensembles against brute force") {
  std::mt19937 draw(9);
  for (int round = 0; round < 60; ++round) {
    const int classes = 1 + static_cast<int>(draw() % 12), samples = 20;
    const std::size_t shards = 1 + draw() % 6;
    const float spread = std::vector<float>{0.1f, 1.0f, 10.0f}[draw() % 3];
    std::normal_distribution<float> normal(0, spread);
    Logits logits(shards);
    for (auto& shard : logits)
      for (int i = 0; i < samples * classes; ++i) shard.push_back(normal(draw));
    std::vector<std::int32_t> labels;
    std::uniform_int_distribution<std::int32_t> any_class(0, classes - 1);
    for (int i = 0; i < samples; ++i) labels.push_back(any_class(draw));
    const EnsembleScores scores = score(logits, classes, labels);
    for (std::size_t i = 0; i < labels.size(); ++i) {
      const Brute brute(logits, classes, i);
      const auto label = static_cast<std::size_t>(labels[i]);
      CHECK(scores.losses[i] == doctest::Approx(static_cast<double>(-std::log(brute.mean[label]))).epsilon(1e-12));
      CHECK(scores.mean_posterior_ranks[i] == brute.rank(labels[i], false));
      CHECK(scores.majority_vote_ranks[i] == brute.rank(labels[i], true));
      for (std::size_t c = 0; c < brute.mean.size(); ++c)
        CHECK(scores.log_posterior[i * brute.mean.size() + c] ==
              doctest::Approx(static_cast<double>(std::log(brute.mean[c]))).epsilon(1e-6));
    }
    // The order of the shards changes no bit.
    std::ranges::reverse(logits);
    const EnsembleScores reversed = score(logits, classes, labels);
    CHECK(reversed.losses == scores.losses);
    CHECK(reversed.log_posterior == scores.log_posterior);
    CHECK(reversed.majority_vote_ranks == scores.majority_vote_ranks);
  }
}

TEST_CASE("metrics: ties go to the lower class") {
  // One shard of equal logits: it votes for class 0, and the ranking is by id.
  for (std::int32_t label = 0; label < 4; ++label) {
    const EnsembleScores scores = score({{1, 1, 1, 1}}, 4, {label});
    CHECK(scores.mean_posterior_ranks[0] == label);
    CHECK(scores.majority_vote_ranks[0] == label);
    CHECK(scores.losses[0] == doctest::Approx(std::log(4.0)));
  }
  // One vote each for classes 2 and 1, posteriors mirrored: an exact tie, class 1 first.
  const Logits mirrored = {{0, 1, 3, 0}, {0, 3, 1, 0}};
  CHECK(score(mirrored, 4, {1}).majority_vote_ranks[0] == 0);
  CHECK(score(mirrored, 4, {2}).majority_vote_ranks[0] == 1);
  CHECK(score(mirrored, 4, {1}).mean_posterior_ranks[0] == 0);
  // Equal votes, decided by the summed posterior.
  const Logits unequal = {{0, 0, 5, 0}, {0, 3, 0, 0}};
  CHECK(score(unequal, 4, {2}).majority_vote_ranks[0] == 0);
  CHECK(score(unequal, 4, {1}).majority_vote_ranks[0] == 1);
  // Two lukewarm votes beat one firm one; the mean posterior sees it the other way.
  const Logits firm = {{0.1f, 0, 0}, {0.1f, 0, 0}, {0, 9, 0}};
  CHECK(score(firm, 3, {0}).majority_vote_ranks[0] == 0);
  CHECK(score(firm, 3, {1}).majority_vote_ranks[0] == 1);
  CHECK(score(firm, 3, {1}).mean_posterior_ranks[0] == 0);
}

TEST_CASE("metrics: extreme logits stay exact") {
  // Posteriors of exp(-2000) and exp(-3000), far below the smallest double: their mean's log is −2000 − log 2.
  const EnsembleScores tiny = score({{2000, 0, -9000}, {3000, 0, -9000}}, 3, {1});
  CHECK(tiny.losses[0] == doctest::Approx(2000 + std::log(2.0)).epsilon(1e-15));
  CHECK(tiny.mean_posterior_ranks[0] == 1);  // class 2 is smaller still, although both underflow
  CHECK(score({{2000, 0, -9000}}, 3, {2}).mean_posterior_ranks[0] == 2);
  CHECK(score({{2000, -9000, 0}}, 3, {1}).majority_vote_ranks[0] == 2);
  const float huge = std::numeric_limits<float>::max();
  const EnsembleScores huge_scores = score({{huge, -huge}}, 2, {0});
  CHECK(huge_scores.losses[0] == 0);
  CHECK(score({{huge, -huge}}, 2, {1}).losses[0] == doctest::Approx(2.0 * static_cast<double>(huge)));
  CHECK(score({{huge, huge}}, 2, {1}).losses[0] == doctest::Approx(std::log(2.0)));
  // A sure and right ensemble has no loss below zero, nor −0.
  for (const float sure : {30.0f, 37.0f, 100.0f, 1000.0f})
    CHECK(!std::signbit(score({{sure, 0}, {sure + 1, 0}, {sure, 0}}, 2, {0}).losses[0]));
}

TEST_CASE("metrics: rows that are not finite") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  for (const float broken : {nan, inf, -inf}) {
    const EnsembleScores scores = score({{5, 1, 0, 5, 1, 0}, {5, broken, 0, 5, 1, 0}}, 3, {0, 0});
    CHECK(std::isnan(scores.losses[0]));
    CHECK(std::isnan(scores.log_posterior[0]));
    CHECK(scores.mean_posterior_ranks[0] == 2);
    CHECK(scores.majority_vote_ranks[0] == 2);
    CHECK(scores.mean_posterior_ranks[1] == 0);
    CHECK(std::isfinite(scores.losses[1]));
  }
}

TEST_CASE("metrics: what does not fit is refused") {
  CHECK_THROWS_AS(score({}, 3, {}), std::invalid_argument);
  CHECK_THROWS_AS(score({{1, 2, 3}}, 0, {}), std::invalid_argument);
  CHECK_THROWS_AS(score({{1, 2, 3}, {1, 2}}, 3, {0}), std::invalid_argument);
  CHECK_THROWS_AS(score({{1, 2, 3}}, 3, {3}), std::invalid_argument);
  CHECK_THROWS_AS(score({{1, 2, 3}}, 3, {-1}), std::invalid_argument);
  CHECK(score({{}}, 3, {}).losses.empty());
}
