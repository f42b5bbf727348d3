// What a threshold on the loss alone says about membership: area under the ROC curve, its bootstrap interval, and the
// true positive rate at small false positive rates (Carlini et al., "Membership inference attacks from first
// principles", S&P 2022). A sample counts as a member where its loss is at most the threshold.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace nepenthe {

/// The losses of members and non-members in one order, equal losses in one group. Sorted once in O(n log n); each
/// figure is then O(n).
class RocOrder {
 public:
  /// Throws std::invalid_argument where one is empty or a loss is NaN.
  RocOrder(std::span<const double> members, std::span<const double> nonmembers);

  /// P(loss of a member < loss of a non-member) + ½·P(equal): scikit-learn's roc_auc_score with score = −loss.
  double auc() const;

  /// Largest true positive rate of a threshold whose false positive rate does not exceed `fpr`; 0 where none is so low.
  double tpr_at_fpr(double fpr) const;

  struct Point {
    double fpr, tpr;
  };
  /// The curve: from (0, 0) on, one point for each loss that occurs, in ascending order; the last is (1, 1).
  std::vector<Point> curve() const;

  /// 95 % percentile bootstrap of the AUC (Efron & Tibshirani, 1993, §13): the 2.5 % and 97.5 % quantiles, linearly
  /// interpolated, of `resamples` AUCs, members and non-members each drawn with replacement within their class, as many
  /// as there are. Draws are keyed (purpose::mia_bootstrap, epoch = resample, stage = 0 members, 1 non-members).
  std::array<double, 2> bootstrap_interval(std::uint64_t seed, int resamples) const;

 private:
  double auc_of(std::span<const std::int32_t> members, std::span<const std::int32_t> nonmembers) const;

  std::vector<std::int32_t> member_group_, nonmember_group_;  // by sample: its group in ascending order of loss
  std::vector<std::int32_t> member_count_, nonmember_count_;  // by group
};

}  // namespace nepenthe
