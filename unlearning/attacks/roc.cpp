#include "unlearning/attacks/roc.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include <fmt/format.h>

#include "engine/base/random.h"

namespace nepenthe {
namespace {

std::vector<std::int32_t> groups_of(std::span<const double> losses, std::span<const double> distinct) {
  std::vector<std::int32_t> groups;
  groups.reserve(losses.size());
  for (const double loss : losses)
    groups.push_back(static_cast<std::int32_t>(std::ranges::lower_bound(distinct, loss) - distinct.begin()));
  return groups;
}

std::vector<std::int32_t> count(std::span<const std::int32_t> groups, std::size_t number_of_groups) {
  std::vector<std::int32_t> counts(number_of_groups, 0);
  for (const std::int32_t group : groups) ++counts[static_cast<std::size_t>(group)];
  return counts;
}

// Counts, by group, of as many draws with replacement as there are samples. Four draws a Philox block.
void resample(std::span<std::int32_t> counts, std::span<const std::int32_t> groups, const RandomStream& stream) {
  std::ranges::fill(counts, 0);
  const auto samples = static_cast<std::uint32_t>(groups.size());
  for (std::uint32_t drawn = 0; drawn < samples; drawn += 4) {
    const Random4 bits = random_bits(stream, drawn / 4);
    const std::array<std::uint32_t, 4> lanes = {bits.x, bits.y, bits.z, bits.w};
    for (std::uint32_t lane = 0; lane < std::min(4u, samples - drawn); ++lane)
      ++counts[static_cast<std::size_t>(groups[random_below(lanes[lane], samples)])];
  }
}

double quantile(std::span<const double> sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

RocOrder::RocOrder(std::span<const double> members, std::span<const double> nonmembers) {
  if (members.empty() || nonmembers.empty())
    throw std::invalid_argument(fmt::format("[roc] {} members, {} non-members", members.size(), nonmembers.size()));
  std::vector<double> distinct(members.begin(), members.end());
  distinct.insert(distinct.end(), nonmembers.begin(), nonmembers.end());
  if (std::ranges::any_of(distinct, [](double loss) { return std::isnan(loss); }))
    throw std::invalid_argument("[roc] a loss is NaN");
  std::ranges::sort(distinct);
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  member_group_ = groups_of(members, distinct);
  nonmember_group_ = groups_of(nonmembers, distinct);
  member_count_ = count(member_group_, distinct.size());
  nonmember_count_ = count(nonmember_group_, distinct.size());
}

double RocOrder::auc_of(std::span<const std::int32_t> members, std::span<const std::int32_t> nonmembers) const {
  // Twice the pairs won, as an integer: exact.
  std::int64_t twice = 0, below = 0;
  for (std::size_t group = 0; group < members.size(); ++group) {
    twice += nonmembers[group] * (2 * below + members[group]);
    below += members[group];
  }
  return static_cast<double>(twice) /
         (2 * static_cast<double>(member_group_.size()) * static_cast<double>(nonmember_group_.size()));
}

double RocOrder::auc() const { return auc_of(member_count_, nonmember_count_); }

std::vector<RocOrder::Point> RocOrder::curve() const {
  std::vector<Point> points{{0, 0}};
  points.reserve(member_count_.size() + 1);
  const auto members = static_cast<double>(member_group_.size()),
             nonmembers = static_cast<double>(nonmember_group_.size());
  std::int64_t true_positives = 0, false_positives = 0;
  for (std::size_t group = 0; group < member_count_.size(); ++group) {
    true_positives += member_count_[group];
    false_positives += nonmember_count_[group];
    points.push_back(
        {static_cast<double>(false_positives) / nonmembers, static_cast<double>(true_positives) / members});
  }
  return points;
}

double RocOrder::tpr_at_fpr(double fpr) const {
  const auto members = static_cast<double>(member_group_.size());
  const auto nonmembers = static_cast<double>(nonmember_group_.size());
  std::int64_t true_positives = 0, false_positives = 0;
  double best = 0;
  for (std::size_t group = 0; group < member_count_.size(); ++group) {
    true_positives += member_count_[group];
    false_positives += nonmember_count_[group];
    if (static_cast<double>(false_positives) / nonmembers > fpr) break;
    best = static_cast<double>(true_positives) / members;
  }
  return best;
}

std::array<double, 2> RocOrder::bootstrap_interval(std::uint64_t seed, int resamples) const {
  if (resamples < 1) throw std::invalid_argument(fmt::format("[roc] {} resamples", resamples));
  std::vector<double> aucs(static_cast<std::size_t>(resamples));
  std::vector<std::int32_t> members(member_count_.size()), nonmembers(member_count_.size());
  for (std::size_t i = 0; i < aucs.size(); ++i) {
    RandomStream stream{.seed = seed, .purpose = purpose::mia_bootstrap, .epoch = static_cast<std::uint32_t>(i)};
    resample(members, member_group_, stream);
    stream.stage = 1;
    resample(nonmembers, nonmember_group_, stream);
    aucs[i] = auc_of(members, nonmembers);
  }
  std::ranges::sort(aucs);
  return {quantile(aucs, 0.025), quantile(aucs, 0.975)};
}

}  // namespace nepenthe
