// The report's tables, each made from a study's records alone. What a preset leaves out is left out and named in a
// note; a table of which it leaves out everything has no rows.
#pragma once

#include "unlearning/study/report/view.h"
#include "unlearning/study/table.h"

namespace nepenthe {

/// For a terminal: test top-1 and top-5, top-1 on F, the attack and its ceiling, the work and the time.
Table overview_table(const StudyView& view);

// Methods side by side.
Table accuracy_table(const StudyView& view);
Table attack_table(const StudyView& view);
Table cost_table(const StudyView& view);

// Ours under the source report's.
Table published_fine_tuning_table(const StudyView& view);
Table published_transfer_table(const StudyView& view);

/// A run's two ways to aggregate, and each shard on its own.
Table aggregation_table(const StudyView& view);
/// The attack on each shard: on the whole of F, the ensemble beside it; and on F ∩ shard.
Table shards_attack_table(const StudyView& view);
Table own_attack_table(const StudyView& view);
/// One network on shard 0 of S, after its last epoch (Figures 2 and 3).
Table sharding_table(const StudyView& view);
/// Shapes of the forget set against accuracy, attack and cost.
Table shapes_table(const StudyView& view);
/// Shards × slices, trained and unlearned.
Table sweep_table(const StudyView& view);
/// What requests cost by the plan, against the formulas of the SISA paper.
Table formulas_table(const StudyView& view);
/// The same as a plan: for S, R and K the sample passes of a request, and the seconds at the measured rate.
Table planner_table(const StudyView& view);
/// Seeds and key of every record.
Table rows_table(const StudyView& view);
/// Every record's numbers as they are, one line a record: for other programs.
Table records_table(const StudyView& view);

}  // namespace nepenthe
