#include "unlearning/attacks/mia.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string_view>

#include <fmt/format.h>

#include "engine/base/error.h"
#include "engine/base/random.h"
#include "unlearning/attacks/logistic_regression.h"
#include "unlearning/attacks/roc.h"

namespace nepenthe {
namespace {

constexpr int fewest_members = 10;

void require_finite(std::span<const double> losses, std::string_view whose) {
  const auto not_finite = [](double loss) { return !std::isfinite(loss); };
  const auto first = std::ranges::find_if(losses, not_finite);
  if (first == losses.end()) return;
  throw Error(
      fmt::format("{} of {} losses of {} are not finite, the first at index {} ({}): the attack needs a model "
                  "that has not diverged",
                  std::ranges::count_if(losses, not_finite), losses.size(), whose, first - losses.begin(), *first));
}

std::vector<std::int32_t> positions(std::int32_t begin, std::int32_t end) {
  std::vector<std::int32_t> result(static_cast<std::size_t>(end - begin));
  std::iota(result.begin(), result.end(), begin);
  return result;
}

// `wanted` of the losses, chosen by a seeded shuffle, in their old order.
std::vector<double> cut(std::span<const double> losses, std::size_t wanted, const RandomStream& stream) {
  std::vector<std::int32_t> kept = keyed_order(stream, positions(0, static_cast<std::int32_t>(losses.size())));
  kept.resize(wanted);
  std::ranges::sort(kept);
  std::vector<double> result;
  result.reserve(wanted);
  for (const std::int32_t index : kept) result.push_back(losses[static_cast<std::size_t>(index)]);
  return result;
}

double mean_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double standard_error_of(std::span<const double> values) {
  const double mean = mean_of(values);
  const double squares = std::accumulate(values.begin(), values.end(), 0.0, [mean](double sum, double value) {
    return sum + (value - mean) * (value - mean);
  });
  const auto n = static_cast<double>(values.size());
  return std::sqrt(squares / (n - 1) / n);
}

}  // namespace

std::vector<MiaFold> stratified_shuffle_splits(int n, int splits, std::uint64_t seed) {
  const int test = (2 * n + 9) / 10;
  std::vector<MiaFold> folds(static_cast<std::size_t>(splits));
  for (std::size_t s = 0; s < folds.size(); ++s) {
    const RandomStream stream{.seed = seed, .purpose = purpose::mia_split, .epoch = static_cast<std::uint32_t>(s)};
    const bool coin = random_bits(stream, static_cast<std::uint32_t>(2 * n)).x >> 31;
    for (const int label : {1, 0}) {
      const int first = label == 1 ? 0 : n;
      const int tested = test / 2 + (test % 2 == 1 && coin == (label == 1) ? 1 : 0);
      const std::vector<std::int32_t> order = keyed_order(stream, positions(first, first + n));
      folds[s].test.insert(folds[s].test.end(), order.begin(), order.begin() + tested);
      folds[s].train.insert(folds[s].train.end(), order.begin() + tested, order.end());
    }
    std::ranges::sort(folds[s].train);
    std::ranges::sort(folds[s].test);
  }
  return folds;
}

std::vector<MiaFoldFit> attack_folds(std::span<const double> members, std::span<const double> nonmembers,
                                     std::span<const MiaFold> folds) {
  const std::size_t count = members.size() + nonmembers.size();
  const auto is_member = [&](std::int32_t position) { return static_cast<std::size_t>(position) < members.size(); };
  const auto loss_at = [&](std::int32_t position) {
    const auto i = static_cast<std::size_t>(position);
    if (i >= count) throw std::invalid_argument(fmt::format("[mia] position {} of {} samples", position, count));
    return is_member(position) ? members[i] : nonmembers[i - members.size()];
  };
  std::vector<MiaFoldFit> fits;
  for (const MiaFold& fold : folds) {
    if (fold.test.empty()) throw std::invalid_argument("[mia] a split without test samples");
    std::vector<double> positives, negatives;
    for (const std::int32_t position : fold.train)
      (is_member(position) ? positives : negatives).push_back(loss_at(position));
    const LogisticModel model = fit_logistic(positives, negatives);
    const auto right = std::ranges::count_if(
        fold.test, [&](std::int32_t position) { return model.predicts(loss_at(position)) == is_member(position); });
    fits.push_back({.accuracy = static_cast<double>(right) / static_cast<double>(fold.test.size()),
                    .coefficient = model.coefficient,
                    .intercept = model.intercept});
  }
  return fits;
}

MiaOutcome membership_inference(std::span<const double> members, std::span<const double> nonmembers,
                                const MiaSettings& settings) {
  if (settings.splits < 2) throw UsageError(fmt::format("{} splits of the attack: use at least 2", settings.splits));
  if (settings.resamples < 1)
    throw UsageError(fmt::format("{} resamples of the attack: use at least 1", settings.resamples));
  require_finite(members, "members");
  require_finite(nonmembers, "non-members");
  const std::size_t n = std::min(members.size(), nonmembers.size());
  if (n < fewest_members)
    return {.mia = std::nullopt,
            .reason = fmt::format("{} members and {} non-members: the attack needs at least {} of each", members.size(),
                                  nonmembers.size(), fewest_members)};

  const RandomStream stream{.seed = settings.seed, .purpose = purpose::mia_subset};
  const std::vector<double> in = cut(members, n, stream), out = cut(nonmembers, n, stream);

  Mia mia;
  mia.members = mia.nonmembers = static_cast<int>(n);
  const auto folds = stratified_shuffle_splits(static_cast<int>(n), settings.splits, settings.seed);
  for (const MiaFoldFit& fit : attack_folds(in, out, folds)) mia.scores.push_back(fit.accuracy);
  mia.mean = mean_of(mia.scores);
  mia.standard_error = standard_error_of(mia.scores);
  const RocOrder roc(in, out);
  mia.auc = roc.auc();
  mia.interval = roc.bootstrap_interval(settings.seed, settings.resamples);
  mia.tpr_at_fpr = {{"0.001", roc.tpr_at_fpr(0.001)}, {"0.01", roc.tpr_at_fpr(0.01)}};
  return {.mia = std::move(mia), .reason = {}};
}

MiaOutcome membership_inference(std::span<const float> members, std::span<const float> nonmembers,
                                const MiaSettings& settings) {
  const std::vector<double> in(members.begin(), members.end()), out(nonmembers.begin(), nonmembers.end());
  return membership_inference(in, out, settings);
}

}  // namespace nepenthe
