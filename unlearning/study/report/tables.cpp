#include "unlearning/study/report/tables.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "unlearning/study/report/cells.h"
#include "unlearning/study/report/published.h"

namespace nepenthe {
namespace {

/// Beside published figures: with its model, which may be another.
Cell ours_cell(const Group& group) {
  Cell cell(fmt::format("ours, {}: {}", group.experiment().config.model, group.label()), {group.name()});
  cell.note = group.experiment().remark;
  return cell;
}

std::vector<const Group*> methods(const StudyView& view) {
  std::vector<const Group*> groups;
  for (const Group& group : view.groups()) {
    if (is_method(group)) groups.push_back(&group);
  }
  return groups;
}

}  // namespace

Table overview_table(const StudyView& view) {
  Table table = new_table("overview", "Methods at a glance",
                          {"", "top-1", "top-5", "top-1 on F", "MIA", "without F", "sample passes", "time"});
  for (const Group* group : methods(view)) {
    table.add({who_cell(*group), percent(mean(group, top1("test"))), percent(mean(group, top5("test"))),
               percent(mean(group, top1("forget"))), decimals(mean(group, mia()), 3),
               decimals(mean(view.ceiling(*group), mia()), 3), passes_cell(estimate(group, sample_passes())).text,
               seconds_cell(estimate(group, train_seconds())).text});
  }
  table.notes.emplace_back("MIA: accuracy of the attack on F, 0.5 is ideal; without F: where F was never seen.");
  return table;
}

Table accuracy_table(const StudyView& view) {
  std::vector<Column> header{who_column};
  for (const std::string set : {"test", "train", "forget", "retain"}) {
    const std::string group = set == "forget" ? "forget set F" : set == "retain" ? "retain set R" : set;
    header.push_back(quantity_column(group, "top-1", fmt::format("{}_top1", set)));
    header.push_back(quantity_column(group, "top-5", fmt::format("{}_top5", set)));
  }
  Table table = new_table("accuracy", "Accuracy in %", header);
  for (const Group* group : methods(view)) {
    std::vector<Cell> row{who_cell(*group)};
    for (const char* set : {"test", "train", "forget", "retain"}) {
      row.push_back(percent_cell(estimate(group, top1(set))));
      row.push_back(percent_cell(estimate(group, top5(set))));
    }
    table.add(row);
  }
  table.notes.emplace_back("Of the mean posterior where there are shards.");
  note_seeds(table, methods(view));
  return table;
}

Table attack_table(const StudyView& view) {
  Table table = new_table("attack", "The attack on F, and its ceiling",
                          {who_column,
                           {"MIA", "mean ± s.e.", {"mia", "mia_standard_error", "mia_half_width"}},
                           quantity_column("MIA", "ceiling", "mia_ceiling"),
                           {"AUC", "[95 %]", {"auc", "auc_low", "auc_high"}},
                           quantity_column("AUC", "ceiling", "auc_ceiling"),
                           quantity_column("TPR in % at 0.1 % FPR", "here", "tpr_at_0.001"),
                           quantity_column("TPR in % at 0.1 % FPR", "ceiling", "tpr_at_0.001_ceiling"),
                           quantity_column("TPR in % at 1 % FPR", "here", "tpr_at_0.01"),
                           quantity_column("TPR in % at 1 % FPR", "ceiling", "tpr_at_0.01_ceiling")});
  for (const Group* group : methods(view)) {
    const Group* ceiling = view.ceiling(*group);
    std::vector<Cell> row{who_cell(*group)};
    const auto attacked =
        std::ranges::find_if(group->records, [](const Record* record) { return record->whole.attack.mia.has_value(); });
    if (attacked == group->records.end()) {
      if (row[0].note.empty()) row[0].note = group->records.front()->whole.attack.reason;
      row.insert(row.end(), 8, Cell(none));
      table.add(row);
      continue;
    }
    const auto mean_mia = estimate(group, mia()), mean_auc = estimate(group, auc());
    const Mia& one = *(*attacked)->whole.attack.mia;
    if (mean_mia->half_width) {
      const double half = *mean_auc->half_width;
      row.push_back({fmt::format("{:.3f} ± {:.3f}", mean_mia->mean, *mean_mia->half_width),
                     {value_text(mean_mia->mean), "", value_text(mean_mia->half_width)}});
      row.push_back(ceiling_cell(estimate(ceiling, mia()), 1, 3));
      row.push_back(
          {fmt::format("{:.3f} [{:.3f}, {:.3f}]", mean_auc->mean, mean_auc->mean - half, mean_auc->mean + half),
           {value_text(mean_auc->mean), value_text(mean_auc->mean - half), value_text(mean_auc->mean + half)}});
    } else {
      row.push_back({fmt::format("{:.3f} ± {:.3f}", one.mean, one.standard_error),
                     {value_text(one.mean), value_text(one.standard_error), ""}});
      row.push_back(ceiling_cell(estimate(ceiling, mia()), 1, 3));
      row.push_back({fmt::format("{:.3f} [{:.3f}, {:.3f}]", one.auc, one.interval[0], one.interval[1]),
                     {value_text(one.auc), value_text(one.interval[0]), value_text(one.interval[1])}});
    }
    row.push_back(ceiling_cell(estimate(ceiling, auc()), 1, 3));
    for (const char* fpr : {"0.001", "0.01"}) {
      row.push_back(percent_cell(estimate(group, tpr(fpr))));
      row.push_back(ceiling_cell(estimate(ceiling, tpr(fpr)), 100, 2));
    }
    table.add(row);
  }
  table.notes.emplace_back(
      "Ceiling: the same attack on the same training without F, which a SISA run that unlearned F is, byte for byte; "
      "that is as far as forgetting can go. ±: standard error "
      "over the attack's splits; [95 %]: bootstrap over the samples.");
  std::set<std::string> missing;
  for (const Group* group : methods(view)) {
    if (!group->experiment().ceiling.empty() && view.ceiling(*group) == nullptr)
      missing.insert(group->experiment().ceiling);
  }
  if (!missing.empty()) table.notes.push_back(fmt::format("Not in this preset: {}.", fmt::join(missing, ", ")));
  if (several_seeds(methods(view))) {
    table.notes.emplace_back("Over several seeds both are the 95 % interval of the mean (Student's t) instead.");
  }
  return table;
}

Table cost_table(const StudyView& view) {
  Table table = new_table(
      "cost", "Work and time",
      {who_column, quantity_column("", "sample passes", "sample_passes"), quantity_column("", "MACs", "macs"),
       quantity_column("time", "training", "train_seconds"), quantity_column("time", "evaluation", "eval_seconds"),
       quantity_column("time", "attack", "attack_seconds")});
  for (const Group* group : methods(view)) {
    table.add({who_cell(*group), passes_cell(estimate(group, sample_passes())),
               macs_cell(estimate(group, multiply_adds())), seconds_cell(estimate(group, train_seconds())),
               seconds_cell(estimate(group, eval_seconds())), seconds_cell(estimate(group, attack_seconds()))});
  }
  table.notes.emplace_back(
      "Of this step alone: what it goes on from is a row of its own. MACs: multiply-adds of training, three forward "
      "passes' worth a sample. –: not trained here, or interrupted and so not timed as a whole.");
  if (several_seeds(methods(view)))
    table.notes.emplace_back("Over several seeds: the mean; intervals are in the CSV file.");
  return table;
}

Table published_fine_tuning_table(const StudyView& view) {
  Table table = new_table("published-fine-tuning", "Fine-tuning: the source report's figures and ours",
                          {{"", "", {"figures"}},
                           quantity_column("test, %", "top-1", "test_top1"),
                           quantity_column("test, %", "top-5", "test_top5"),
                           quantity_column("MIA", "on F", "mia"),
                           quantity_column("train, %", "top-1", "train_top1"),
                           quantity_column("train, %", "top-5", "train_top5"),
                           quantity_column("forget set F, %", "top-1", "forget_top1"),
                           quantity_column("forget set F, %", "top-5", "forget_top5"),
                           quantity_column("retain set R, %", "top-1", "retain_top1"),
                           quantity_column("retain set R, %", "top-5", "retain_top5")});
  const auto said = [](double value) { return std::optional(Estimate{.n = 1, .mean = value}); };
  std::vector<const Group*> shown;
  for (const published::FineTuning& line : published::fine_tuning) {
    const bool before = std::string_view(line.when) == "before", small = std::string_view(line.network) == "ResNet32";
    if (before && !table.empty()) table.add_rule();
    const Group* ours =
        view.find(small ? (before ? "baseline" : "finetuned") : (before ? "weights-resnet56" : "finetuned-resnet56"));
    table.add({fmt::format("{} {}: published", line.network, line.when), percent_cell(said(line.test_top1)),
               percent_cell(said(line.test_top5)), scaled_cell(said(line.mia), 1, 3),
               percent_cell(said(line.train_top1)), percent_cell(said(line.train_top5)),
               percent_cell(said(line.forget_top1)), percent_cell(said(line.forget_top5)), Cell(none), Cell(none)});
    if (ours != nullptr) {
      shown.push_back(ours);
      const Cell who = ours_cell(*ours);
      table.add({who, percent_cell(estimate(ours, top1("test"))), percent_cell(estimate(ours, top5("test"))),
                 attack_cell(ours), percent_cell(estimate(ours, top1("train"))),
                 percent_cell(estimate(ours, top5("train"))), percent_cell(estimate(ours, top1("forget"))),
                 percent_cell(estimate(ours, top5("forget"))), percent_cell(estimate(ours, top1("retain"))),
                 percent_cell(estimate(ours, top5("retain")))});
    }
  }
  table.notes.emplace_back(
      "Published: Leung & Wang, §6.2. Its \"train set\" after fine-tuning may mean the retain set R: both are given "
      "for ours.");
  note_missing(table, view, {"weights-resnet56", "finetuned-resnet56", "baseline", "finetuned"});
  note_seeds(table, shown);
  return table;
}

Table published_transfer_table(const StudyView& view) {
  std::vector<const Group*> ours;
  for (const char* name : {"transfer", "transfer-unlearned", "transfer-retrained"}) {
    if (const Group* group = view.find(name)) ours.push_back(group);
  }
  const int shards = std::max(most_shards(ours), static_cast<int>(published::transfer[0].mia.size()));
  std::vector<Column> header{{"", "", {"figures"}},
                             quantity_column("test, %, by vote", "top-1", "vote_top1"),
                             quantity_column("test, %, by vote", "top-5", "vote_top5"),
                             quantity_column("test, %, mean posterior", "top-1", "test_top1"),
                             quantity_column("test, %, mean posterior", "top-5", "test_top5")};
  for (int shard = 0; shard < shards; ++shard) {
    header.push_back(quantity_column("MIA on F, shard", std::to_string(shard), fmt::format("mia_shard{}", shard)));
  }
  header.push_back(quantity_column("MIA on F, shard", "mean", "mia_mean"));
  Table table = new_table("published-transfer", "SISA with transfer: the source report's figures and ours", header);
  const auto add_ours = [&](const char* name) {
    const Group* group = view.find(name);
    if (group == nullptr) return;
    const Cell who = ours_cell(*group);
    std::vector<Cell> row{who, percent_cell(estimate(group, vote_top1())), percent_cell(estimate(group, vote_top5())),
                          percent_cell(estimate(group, top1("test"))), percent_cell(estimate(group, top5("test")))};
    for (int shard = 0; shard < shards; ++shard) row.push_back(scaled_cell(estimate(group, shard_mia(shard)), 1, 3));
    row.push_back(scaled_cell(estimate(group, shards_mia()), 1, 3));
    table.add(row);
  };
  for (const published::Transfer& line : published::transfer) {
    if (!table.empty()) table.add_rule();
    std::vector<Cell> row{fmt::format("ResNet34 {}: published", line.when),
                          percent_cell(Estimate{.n = 1, .mean = line.top1}),
                          percent_cell(Estimate{.n = 1, .mean = line.top5}), Cell(none), Cell(none)};
    for (int shard = 0; shard < shards; ++shard) {
      const auto index = static_cast<std::size_t>(shard);
      row.push_back(index < line.mia.size() ? scaled_cell(Estimate{.n = 1, .mean = line.mia[index]}, 1, 3)
                                            : Cell(none));
    }
    row.push_back(scaled_cell(Estimate{.n = 1, .mean = line.mean}, 1, 3));
    table.add(row);
    add_ours(std::string_view(line.when) == "before" ? "transfer" : "transfer-unlearned");
  }
  add_ours("transfer-retrained");
  table.notes.emplace_back("Published: Leung & Wang, §6.3.4, which aggregates by majority vote.");
  note_missing(table, view, {"transfer", "transfer-unlearned", "transfer-retrained"});
  note_seeds(table, ours);
  return table;
}

Table rows_table(const StudyView& view) {
  Table table = new_table("rows", "Seeds and keys",
                          {{"", "row", {"row"}},
                           {"seeds", "training", {"training_seed"}},
                           {"seeds", "unlearning", {"unlearning_seed"}},
                           {"seeds", "evaluation", {"evaluation_seed"}},
                           {"", "forgotten", {"forgotten"}},
                           {"", "key", {"key"}}});
  for (const Record& record : view.study().records) {
    Cell row(record.row);
    row.note = record.experiment.remark;
    table.add({row, std::to_string(record.seeds.training), std::to_string(record.seeds.unlearning),
               std::to_string(record.seeds.evaluation),
               Cell(grouped(record.forgotten), {std::to_string(record.forgotten)}),
               Cell(record.key.substr(0, 12), {record.key})});
  }
  table.notes.emplace_back("Key: SHA-256 of everything that decides a row, its beginning.");
  return table;
}

Table records_table(const StudyView& view) {
  std::vector<Column> header;
  for (const char* name : {"row", "experiment", "method", "model", "shards", "slices", "training_seed",
                           "unlearning_seed", "evaluation_seed", "forgotten"}) {
    header.emplace_back(name);
  }
  std::vector<std::pair<std::string, Quantity>> quantities;
  for (const char* set : {"test", "train", "forget", "retain"}) {
    quantities.emplace_back(fmt::format("{}_top1", set), top1(set));
    quantities.emplace_back(fmt::format("{}_top5", set), top5(set));
    quantities.emplace_back(fmt::format("{}_loss", set),
                            [set = std::string(set)](const Record& record) -> std::optional<double> {
                              const auto found = record.whole.sets.find(set);
                              return found == record.whole.sets.end() ? std::nullopt : found->second.loss;
                            });
  }
  const auto of_attack = [](auto part) -> Quantity {
    return [part](const Record& record) -> std::optional<double> {
      return record.whole.attack.mia ? std::optional(part(*record.whole.attack.mia)) : std::nullopt;
    };
  };
  quantities.insert(quantities.end(),
                    {{"vote_test_top1", vote_top1()},
                     {"vote_test_top5", vote_top5()},
                     {"mia", mia()},
                     {"mia_standard_error", of_attack([](const Mia& attack) { return attack.standard_error; })},
                     {"auc", auc()},
                     {"auc_low", of_attack([](const Mia& attack) { return attack.interval[0]; })},
                     {"auc_high", of_attack([](const Mia& attack) { return attack.interval[1]; })},
                     {"tpr_at_0.001", tpr("0.001")},
                     {"tpr_at_0.01", tpr("0.01")},
                     {"mia_shards_mean", shards_mia()},
                     {"mia_own_shards_mean", shards_own_mia()},
                     {"sample_passes", sample_passes()},
                     {"macs", multiply_adds()},
                     {"train_seconds", train_seconds()},
                     {"eval_seconds", eval_seconds()},
                     {"attack_seconds", attack_seconds()}});
  for (const auto& [name, quantity] : quantities) header.emplace_back(name);
  Table table = new_table("records", "Every record", header);
  for (const Record& record : view.study().records) {
    const TrainingConfig& config = record.experiment.config;
    Cell row(record.row);
    row.note = record.experiment.remark;
    std::vector<Cell> cells{row,
                            record.experiment.name,
                            name(record.experiment.method),
                            config.model,
                            std::to_string(config.shards),
                            std::to_string(config.epochs.size()),
                            std::to_string(record.seeds.training),
                            std::to_string(record.seeds.unlearning),
                            std::to_string(record.seeds.evaluation),
                            std::to_string(record.forgotten)};
    for (const auto& [name, quantity] : quantities) cells.emplace_back(value_text(quantity(record)));
    table.add(cells);
  }
  return table;
}

}  // namespace nepenthe
