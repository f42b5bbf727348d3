// The membership inference attack of the study: the simple attack of the NeurIPS 2023 machine unlearning challenge's
// starting kit (STUDY §5), with an AUC and true positive rates beside it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace nepenthe {

struct MiaSettings {
  std::uint64_t seed = 1;  // of the cut, the splits and the bootstrap; the run's unless told otherwise
  int splits = 10;         // at least 2
  int resamples = 1000;    // of the bootstrap, at least 1
};

/// Fields as in the programs' JSON (PROGRAMS.md); accuracies and rates in [0, 1].
struct Mia {
  double mean = 0;                           // the MIA: mean accuracy of the splits; 0.5 is ideal
  double standard_error = 0;                 // s / √n of the n scores
  std::array<double, 2> interval{};          // 95 % percentile bootstrap of the AUC
  std::vector<double> scores;                // (splits): the accuracies
  double auc = 0;                            // with score = −loss, ties ½
  std::map<std::string, double> tpr_at_fpr;  // "0.001" and "0.01"
  int members = 0, nonmembers = 0;           // attacked, after cutting both to the same number
};

/// An attack, or why there is none.
struct MiaOutcome {
  std::optional<Mia> mia;
  std::string reason;  // empty where there is one
};

/// Attacks per-sample cross-entropy losses of members (the forget set, label 1) and non-members (test pictures, label
/// 0). Both are cut to the same number by a seeded shuffle (purpose::mia_subset, by index); fewer than 10 after that is
/// no attack but a reason. Throws Error where a loss is not finite, with how many and the first index, and UsageError
/// for less than 2 splits or 1 resample.
MiaOutcome membership_inference(std::span<const double> members, std::span<const double> nonmembers,
                                const MiaSettings& settings);
MiaOutcome membership_inference(std::span<const float> members, std::span<const float> nonmembers,
                                const MiaSettings& settings);

/// One split, as positions in members followed by non-members.
struct MiaFold {
  std::vector<std::int32_t> train, test;
};

/// Stratified shuffle splits of n members and n non-members, test share 0.1, with the numbers of scikit-learn's
/// StratifiedShuffleSplit: ⌈0.1·2n⌉ test samples, all others train; half of the test samples from each class, and where
/// their number is odd one more from a class that a coin picks anew in every split. Order within a class: keyed
/// (purpose::mia_split, epoch = split, by position); the coin is the number of position 2n. train and test are sorted.
std::vector<MiaFold> stratified_shuffle_splits(int n, int splits, std::uint64_t seed);

struct MiaFoldFit {
  double accuracy = 0, coefficient = 0, intercept = 0;
};

/// Fits and scores the attack on given splits (of any, also unequal, numbers of members and non-members). Throws
/// std::invalid_argument for a position out of range, an empty test set or a class missing in a training set.
std::vector<MiaFoldFit> attack_folds(std::span<const double> members, std::span<const double> nonmembers,
                                     std::span<const MiaFold> folds);

}  // namespace nepenthe
