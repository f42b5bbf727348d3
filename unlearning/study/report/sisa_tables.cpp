#include <fmt/format.h>

#include <algorithm>

#include "unlearning/study/report/cells.h"
#include "unlearning/study/report/tables.h"

namespace nepenthe {
namespace {

std::vector<const Group*> groups_named(const StudyView& view, std::string_view prefix) {
  std::vector<const Group*> groups;
  for (const Group& group : view.groups()) {
    if (group.name().starts_with(prefix)) groups.push_back(&group);
  }
  return groups;
}

/// Runs of which each shard was examined; a sweep's are a table of their own.
std::vector<const Group*> runs(const StudyView& view) {
  std::vector<const Group*> groups;
  for (const Group& group : view.groups()) {
    if (!group.records.front()->shards.empty() && !group.name().starts_with("sweep-")) groups.push_back(&group);
  }
  return groups;
}

}  // namespace

Table aggregation_table(const StudyView& view) {
  const std::vector<const Group*> groups = runs(view);
  const int shards = most_shards(groups);
  std::vector<Column> header{who_column, quantity_column("mean posterior", "top-1", "test_top1"),
                             quantity_column("mean posterior", "top-5", "test_top5"),
                             quantity_column("majority vote", "top-1", "vote_top1"),
                             quantity_column("majority vote", "top-5", "vote_top5")};
  for (int shard = 0; shard < shards; ++shard) {
    header.push_back(quantity_column("top-1, shard", std::to_string(shard), fmt::format("top1_shard{}", shard)));
  }
  Table table = new_table("aggregation", "Test accuracy in %: the ensemble and its shards", header);
  for (const Group* group : groups) {
    std::vector<Cell> row{who_cell(*group), percent_cell(estimate(group, top1("test"))),
                          percent_cell(estimate(group, top5("test"))), percent_cell(estimate(group, vote_top1())),
                          percent_cell(estimate(group, vote_top5()))};
    for (int shard = 0; shard < shards; ++shard) row.push_back(percent_cell(estimate(group, shard_top1(shard))));
    table.add(row);
  }
  if (groups.empty()) table.notes.emplace_back("Not in this preset: any SISA run.");
  note_seeds(table, groups);
  return table;
}

Table shards_attack_table(const StudyView& view) {
  const std::vector<const Group*> groups = runs(view);
  const int shards = most_shards(groups);
  std::vector<Column> header{who_column};
  for (int shard = 0; shard < shards; ++shard) {
    header.push_back(quantity_column("shard", std::to_string(shard), fmt::format("mia_shard{}", shard)));
  }
  header.push_back(quantity_column("shard", "mean", "mia_mean"));
  header.push_back(quantity_column("", "ensemble", "mia_ensemble"));
  Table table = new_table("attack-shards", "MIA of each shard on the whole of F", header);
  for (const Group* group : groups) {
    std::vector<Cell> row{who_cell(*group)};
    for (int shard = 0; shard < shards; ++shard) row.push_back(scaled_cell(estimate(group, shard_mia(shard)), 1, 3));
    row.push_back(scaled_cell(estimate(group, shards_mia()), 1, 3));
    row.push_back(attack_cell(group));
    table.add(row);
  }
  if (groups.empty()) table.notes.emplace_back("Not in this preset: any SISA run.");
  note_seeds(table, groups);
  return table;
}

Table own_attack_table(const StudyView& view) {
  const std::vector<const Group*> groups = runs(view);
  std::vector<int> attacked;
  for (int shard = 0; shard < most_shards(groups); ++shard) {
    if (std::ranges::any_of(groups,
                            [&](const Group* group) { return mean(group, shard_own_mia(shard)).has_value(); })) {
      attacked.push_back(shard);
    }
  }
  std::vector<Column> header{who_column};
  for (const int shard : attacked) {
    header.push_back(quantity_column("shard", std::to_string(shard), fmt::format("mia_own_shard{}", shard)));
  }
  header.push_back(quantity_column("shard", "mean", "mia_own_mean"));
  Table table = new_table("attack-own", "MIA of each shard on its own part of F", header);
  for (const Group* group : groups) {
    if (attacked.empty()) break;
    std::vector<Cell> row{who_cell(*group)};
    for (const int shard : attacked) row.push_back(scaled_cell(estimate(group, shard_own_mia(shard)), 1, 3));
    row.push_back(scaled_cell(estimate(group, shards_own_mia()), 1, 3));
    table.add(row);
  }
  if (table.empty()) {
    table.notes.emplace_back("Not in this preset: any SISA run with enough of F in a shard.");
  } else {
    table.notes.emplace_back(
        "A shard that holds nothing of F never saw it. The whole-F attack above mixes what a shard has seen with what "
        "it has not; here only what it has.");
  }
  note_seeds(table, groups);
  return table;
}

Table sharding_table(const StudyView& view) {
  Table table = new_table("sharding", "One network on shard 0 of S, after its last epoch",
                          {who_column,
                           {"", "shards", {"shards"}},
                           {"", "epochs", {"epochs"}},
                           quantity_column("top-1, %", "train", "train_top1"),
                           quantity_column("top-1, %", "test", "test_top1"),
                           quantity_column("top-1, %", "test, best epoch", "test_top1_best")});
  const std::vector<const Group*> groups = groups_named(view, "shards-");
  for (const Group* group : groups) {
    const auto last = [](double CurvePoint::*field) -> Quantity {
      return [field](const Record& record) {
        return record.curve.empty() ? std::nullopt : std::optional(record.curve.back().*field);
      };
    };
    const Quantity best = [](const Record& record) -> std::optional<double> {
      if (record.curve.empty()) return std::nullopt;
      return std::ranges::max_element(record.curve, {}, &CurvePoint::test_top1)->test_top1;
    };
    const auto& curve = group->records.front()->curve;
    table.add({who_cell(*group), std::to_string(group->experiment().config.shards),
               curve.empty() ? Cell(none) : Cell(std::to_string(curve.back().epoch)),
               percent_cell(estimate(group, last(&CurvePoint::train_top1))),
               percent_cell(estimate(group, last(&CurvePoint::test_top1))), percent_cell(estimate(group, best))});
  }
  note_missing(table, view, {"shards-2", "shards-4", "shards-10", "shards-4-more"});
  note_seeds(table, groups);
  return table;
}

Table shapes_table(const StudyView& view) {
  Table table = new_table("shapes", "What the shape of F decides",
                          {who_column,
                           {"", "forgotten", {"forgotten"}},
                           {"", "shards", {"shards_touched"}},
                           {"", "stages", {"stages_trained"}},
                           quantity_column("", "sample passes", "sample_passes"),
                           {"", "of training, %", {"share_of_training"}},
                           quantity_column("", "time", "train_seconds"),
                           quantity_column("top-1, %", "test", "test_top1"),
                           quantity_column("top-1, %", "F", "forget_top1"),
                           quantity_column("MIA", "on F", "mia"),
                           quantity_column("MIA", "ceiling", "mia_ceiling"),
                           quantity_column("MIA", "F ∩ shard", "mia_own_mean")});
  std::vector<const Group*> groups;
  if (const Group* group = view.find("sisa-unlearned")) groups.push_back(group);
  const std::vector<const Group*> shapes = groups_named(view, "shape-");
  groups.insert(groups.end(), shapes.begin(), shapes.end());
  if (shapes.empty()) groups.clear();
  for (const Group* group : groups) {
    const Record& record = *group->records.front();
    int touched = 0, trained = 0;
    if (record.map) {
      for (const RequestMap::Shard& shard : record.map->shards) {
        touched += shard.first_stage > 0;
        trained += static_cast<int>(shard.trained.size());
      }
    }
    const auto passes = mean(group, sample_passes()),
               training = mean(view.find(group->experiment().from), sample_passes());
    table.add({who_cell(*group), Cell(grouped(record.forgotten), {std::to_string(record.forgotten)}),
               record.map ? Cell(std::to_string(touched)) : Cell(none),
               record.map ? Cell(std::to_string(trained)) : Cell(none), passes_cell(estimate(group, sample_passes())),
               share_cell(passes, training), seconds_cell(estimate(group, train_seconds())),
               percent_cell(estimate(group, top1("test"))), percent_cell(estimate(group, top1("forget"))),
               attack_cell(group), ceiling_cell(estimate(view.ceiling(*group), mia()), 1, 3),
               scaled_cell(estimate(group, shards_own_mia()), 1, 3)});
  }
  if (table.empty()) {
    table.notes.emplace_back("Not in this preset: any forget set but the study's own.");
  } else {
    table.notes.emplace_back(
        "Shards touched and stages made again by the request; sample passes also as a share of the training that is "
        "unlearned.");
    note_missing(table, view, {"shape-clustered", "shape-spread", "shape-class", "shape-random"});
  }
  note_seeds(table, groups);
  return table;
}

Table sweep_table(const StudyView& view) {
  Table table = new_table("sweep", "Shards × slices: trained, and F unlearned",
                          {who_column,
                           {"", "S", {"shards"}},
                           {"", "R", {"slices"}},
                           quantity_column("test top-1, %", "trained", "test_top1"),
                           quantity_column("test top-1, %", "unlearned", "test_top1_unlearned"),
                           quantity_column("MIA on F", "trained", "mia"),
                           quantity_column("MIA on F", "unlearned", "mia_unlearned"),
                           quantity_column("sample passes", "trained", "sample_passes"),
                           quantity_column("sample passes", "unlearned", "sample_passes_unlearned"),
                           {"", "unlearned, %", {"share_of_training"}}});
  const std::vector<const Group*> groups = groups_named(view, "sweep-");
  for (const Group* group : groups) {
    if (group->name().ends_with("-unlearned")) continue;
    const Group* unlearned = view.find(fmt::format("{}-unlearned", group->name()));
    const TrainingConfig& config = group->experiment().config;
    const auto training = mean(group, sample_passes()), request = mean(unlearned, sample_passes());
    table.add({who_cell(*group), std::to_string(config.shards), std::to_string(config.epochs.size()),
               percent_cell(estimate(group, top1("test"))), percent_cell(estimate(unlearned, top1("test"))),
               attack_cell(group), attack_cell(unlearned), passes_cell(estimate(group, sample_passes())),
               passes_cell(estimate(unlearned, sample_passes())), share_cell(request, training)});
  }
  if (table.empty()) table.notes.emplace_back("Not in this preset: a sweep over shards and slices.");
  note_seeds(table, groups);
  return table;
}

}  // namespace nepenthe
