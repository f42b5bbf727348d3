// A study's records by experiment, and the quantities that tables, figures and claims are made of.
#pragma once

#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "unlearning/study/record.h"
#include "unlearning/study/report/estimate.h"

namespace nepenthe {

/// An experiment's records, one for each triple of seeds; never empty.
struct Group {
  std::vector<const Record*> records;

  const Experiment& experiment() const { return records.front()->experiment; }
  const std::string& name() const { return experiment().name; }
  /// "SISA, F unlearned"; with several seeds "SISA, F unlearned (3 seeds)".
  std::string label() const;
};

/// A number out of a record; none where the record has none.
using Quantity = std::function<std::optional<double>(const Record&)>;

/// Over a group's records; none without a group or where no record has it.
std::optional<Estimate> estimate(const Group* group, const Quantity& quantity);
/// Its mean alone.
std::optional<double> mean(const Group* group, const Quantity& quantity);

/// Refers to the study, which must outlive it.
class StudyView {
 public:
  explicit StudyView(const StudyRecord& study);
  const StudyRecord& study() const { return *study_; }
  /// In the study's order.
  const std::vector<Group>& groups() const { return groups_; }
  /// Null where there is none.
  const Group* find(std::string_view name) const;
  /// The one retrained without F whose attack belongs beside this group's; null where there is none.
  const Group* ceiling(const Group& group) const;
  /// "Not in this preset: sisa, golden."; empty where all are there.
  std::string missing(std::initializer_list<std::string_view> names) const;

 private:
  const StudyRecord* study_;
  std::vector<Group> groups_;
};

/// Methods side by side are those that are not part of a series of their own: shards-…, shape-…, sweep-….
bool is_method(const Group& group);

// Quantities of the network or the mean posterior, unless said otherwise.
Quantity top1(std::string set);
Quantity top5(std::string set);
Quantity vote_top1();  // on the test set, by majority vote
Quantity vote_top5();
Quantity mia();
Quantity auc();
Quantity tpr(std::string fpr);  // "0.001", "0.01"
Quantity sample_passes();
Quantity multiply_adds();
Quantity train_seconds();
Quantity eval_seconds();
Quantity attack_seconds();
/// Of the shards: the mean of their attacks on all of F, the source report's figure; of those on F ∩ shard; of their
/// test top-1.
Quantity shards_mia();
Quantity shards_own_mia();
Quantity shards_top1();
/// The same of one shard; none where it takes no part.
Quantity shard_mia(int shard);
Quantity shard_own_mia(int shard);
Quantity shard_top1(int shard);

/// Sample passes of each shard's part of an unlearning: epochs times what is left, summed over the stages made again.
std::vector<std::int64_t> passes_by_shard(const RequestMap& map, const std::vector<int>& epochs);

}  // namespace nepenthe
