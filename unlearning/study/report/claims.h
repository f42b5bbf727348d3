// The source report's claims (STUDY §6), checked with a study's own figures.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "unlearning/study/report/view.h"
#include "unlearning/study/table.h"

namespace nepenthe {

enum class Verdict { holds, in_part, does_not_hold, not_tested };
/// "holds", "holds in part", "does not hold here", "not tested by this preset"
std::string name(Verdict verdict);

/// One statement of a claim that a rule decides.
struct ClaimPart {
  std::string statement;      // in our words
  std::string figures;        // ours; where it is not tested, what is missing
  std::optional<bool> holds;  // none: not tested
};

struct Claim {
  char letter = 'a';
  std::string claim;    // the source's, in our words
  std::string section;  // of the source
  std::vector<ClaimPart> parts;
  std::string difference;  // where ours differ, why; empty where they do not

  /// not_tested: no part is tested. holds: every part is tested and holds. does_not_hold: none of the tested parts
  /// holds. Otherwise in_part.
  Verdict verdict() const;
};

/// The numbers that the rules are made of.
namespace claim_rules {
/// An accuracy "performs" where it is no more than this below the network that it is measured by.
inline constexpr double performs_within = 0.03;
/// "Performs poorly": at least this below the one network trained on everything.
inline constexpr double poor_below = 0.05;
/// "Restores" or "very well": within this below, or above, the one network trained on everything.
inline constexpr double restores_within = 0.01;
/// Two attacks differ where their MIA are further apart than this and than twice their standard error: the seed of the
/// splits alone moves one by about 0.003.
inline constexpr double attacks_apart = 0.01;
/// (b) "about 10 points": at least half of that. (d) "about 10 points" from "100 %".
inline constexpr double rise_at_least = 0.05;
inline constexpr double drop_least = 0.05, drop_most = 0.15, learnt_by_heart = 0.98;
/// (c) saturated: the mean of the last five epochs is at most this above that of epochs 26 to 30. 100 %: this or more.
inline constexpr double saturated_within = 0.015, all_of_it = 0.99;
/// (c) "about 50 %" after 100 more epochs.
inline constexpr double about = 0.05;
}  // namespace claim_rules

/// (a) to (f), in that order.
std::vector<Claim> claims(const StudyView& view);
/// Letter, claim, our figures, verdict: a row a part.
Table claims_table(const std::vector<Claim>& claims);

}  // namespace nepenthe
