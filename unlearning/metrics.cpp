#include "unlearning/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include <fmt/format.h>

namespace nepenthe {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

template <class Loss>
Metrics measure_any(std::span<const Loss> losses, std::span<const std::int32_t> ranks) {
  if (losses.size() != ranks.size())
    throw std::invalid_argument(fmt::format("[metrics] {} losses, {} ranks", losses.size(), ranks.size()));
  MetricsSum sum;
  for (std::size_t i = 0; i < ranks.size(); ++i) sum.add(static_cast<double>(losses[i]), ranks[i]);
  return sum.result();
}

// log of the sum of exponentials; `terms` are sorted on return, so that their order does not matter.
double log_sum_exp(std::span<double> terms) {
  std::ranges::sort(terms);
  const double largest = terms.back();
  double sum = 0;
  for (const double term : terms) sum += std::exp(term - largest);
  return largest + std::log(sum);
}

// log softmax of one row.
void log_posterior(std::span<double> result, std::span<const float> logits) {
  const double largest = static_cast<double>(*std::ranges::max_element(logits));
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  const double log_sum = std::log(sum);
  // In this order, huge logits keep the difference of their logarithms.
  for (std::size_t c = 0; c < logits.size(); ++c) result[c] = (static_cast<double>(logits[c]) - largest) - log_sum;
}

// How many classes stand before `label`: more votes first, then the larger posterior, then the lower id.
std::int32_t rank_of(std::int32_t label, std::span<const int> votes, std::span<const double> posterior) {
  const auto own = static_cast<std::size_t>(label);
  std::int32_t rank = 0;
  for (std::size_t c = 0; c < posterior.size(); ++c) {
    if (votes[c] != votes[own])
      rank += votes[c] > votes[own];
    else if (posterior[c] != posterior[own])
      rank += posterior[c] > posterior[own];
    else
      rank += c < own;
  }
  return rank;
}

}  // namespace

void MetricsSum::add(double loss, std::int32_t rank) {
  ++count_;
  top1_ += rank < 1;
  top5_ += rank < 5;
  loss_ += loss;
}

Metrics MetricsSum::result() const {
  if (count_ == 0) return {.count = 0, .top1 = nan, .top5 = nan, .loss = std::nullopt};
  const auto count = static_cast<double>(count_);
  return {.count = count_,
          .top1 = static_cast<double>(top1_) / count,
          .top5 = static_cast<double>(top5_) / count,
          .loss = loss_ / count};
}

Metrics measure(std::span<const float> losses, std::span<const std::int32_t> ranks) {
  return measure_any(losses, ranks);
}

Metrics measure(std::span<const double> losses, std::span<const std::int32_t> ranks) {
  return measure_any(losses, ranks);
}

Metrics measure_ranks(std::span<const std::int32_t> ranks) {
  MetricsSum sum;
  for (const std::int32_t rank : ranks) sum.add(0, rank);
  Metrics metrics = sum.result();
  metrics.loss.reset();
  return metrics;
}

EnsembleScores score_ensemble(std::span<const std::span<const float>> logits, int classes,
                              std::span<const std::int32_t> labels) {
  const std::size_t samples = labels.size(), shards = logits.size();
  const auto width = static_cast<std::size_t>(std::max(classes, 0));
  if (shards == 0 || width == 0)
    throw std::invalid_argument(fmt::format("[ensemble] {} shards of {} classes", shards, classes));
  for (const std::span<const float> shard : logits)
    if (shard.size() != samples * width)
      throw std::invalid_argument(
          fmt::format("[ensemble] {} logits of a shard for {} samples of {} classes", shard.size(), samples, classes));
  for (const std::int32_t label : labels)
    if (label < 0 || label >= classes)
      throw std::invalid_argument(fmt::format("[ensemble] label {} of {} classes", label, classes));

  EnsembleScores scores;
  scores.log_posterior.assign(samples * width, static_cast<float>(nan));
  scores.losses.assign(samples, nan);
  scores.mean_posterior_ranks.assign(samples, classes - 1);
  scores.majority_vote_ranks.assign(samples, classes - 1);

  std::vector<double> by_shard(shards * width), terms(shards), mean(width);
  std::vector<int> votes(width);
  const std::vector<int> no_votes(width, 0);
  const double log_shards = std::log(static_cast<double>(shards));
  for (std::size_t i = 0; i < samples; ++i) {
    std::ranges::fill(votes, 0);
    bool finite = true;
    for (std::size_t s = 0; s < shards; ++s) {
      const std::span<const float> row = logits[s].subspan(i * width, width);
      finite = finite && std::ranges::all_of(row, [](float logit) { return std::isfinite(logit); });
      ++votes[static_cast<std::size_t>(std::ranges::max_element(row) - row.begin())];  // the first of equals
      log_posterior(std::span(by_shard).subspan(s * width, width), row);
    }
    if (!finite) continue;
    for (std::size_t c = 0; c < width; ++c) {
      for (std::size_t s = 0; s < shards; ++s) terms[s] = by_shard[s * width + c];
      mean[c] = log_sum_exp(terms) - log_shards;
      scores.log_posterior[i * width + c] = static_cast<float>(mean[c]);
    }
    scores.losses[i] = 0.0 - mean[static_cast<std::size_t>(labels[i])];  // not the negation: no loss is −0
    scores.mean_posterior_ranks[i] = rank_of(labels[i], no_votes, mean);
    scores.majority_vote_ranks[i] = rank_of(labels[i], votes, mean);
  }
  return scores;
}

}  // namespace nepenthe
