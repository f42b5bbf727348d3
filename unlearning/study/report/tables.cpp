#include "unlearning/study/report/tables.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

#include "unlearning/study/report/published.h"

namespace nepenthe {
namespace {

constexpr const char* none = "–";

/// The shortest text that reads back as the same number.
std::string value_text(std::optional<double> value) {
  return value && std::isfinite(*value) ? fmt::format("{}", *value) : std::string();
}

std::vector<std::string> values_of(const std::optional<Estimate>& estimate) {
  if (!estimate) return {"", ""};
  return {value_text(estimate->mean), value_text(estimate->half_width)};
}

/// A quantity over seeds has two values in CSV: its mean and the half-width of its interval.
Column quantity_column(std::string group, std::string title, const std::string& name) {
  return {std::move(group), std::move(title), {name, fmt::format("{}_half_width", name)}};
}

/// Scaled, with its half-width where there is one: "72.63", "72.63 ± 0.41".
Cell scaled_cell(const std::optional<Estimate>& estimate, double scale, int digits) {
  if (!estimate) return {none, values_of(estimate)};
  const std::string text = fmt::format("{:.{}f}", scale * estimate->mean, digits);
  if (!estimate->half_width) return {text, values_of(estimate)};
  return {fmt::format("{} ± {:.{}f}", text, scale * *estimate->half_width, digits), values_of(estimate)};
}
Cell percent_cell(const std::optional<Estimate>& estimate) { return scaled_cell(estimate, 100, 2); }

/// Without its half-width, which stands in the row that it comes from.
Cell ceiling_cell(const std::optional<Estimate>& estimate, double scale, int digits) {
  return {estimate ? fmt::format("{:.{}f}", scale * estimate->mean, digits) : none, values_of(estimate)};
}

Cell attack_cell(const Group* group) { return scaled_cell(estimate(group, mia()), 1, 3); }

/// "166 T"
std::string with_prefix(double number) {
  constexpr std::array prefixes{"", " k", " M", " G", " T", " P", " E"};
  std::size_t prefix = 0;
  while (number >= 999.5 && prefix + 1 < prefixes.size()) {
    number /= 1000;
    ++prefix;
  }
  return fmt::format("{:.{}f}{}", number,
                     prefix == 0 || number >= 99.95 ? 0
                     : number >= 9.995              ? 1
                                                    : 2,
                     prefixes[prefix]);
}

Cell passes_cell(const std::optional<Estimate>& estimate) {
  return {estimate ? grouped(std::llround(estimate->mean)) : none, values_of(estimate)};
}
Cell seconds_cell(const std::optional<Estimate>& estimate) {
  return {estimate ? duration(estimate->mean) : none, values_of(estimate)};
}

const Column who_column{"", "", {"experiment", "seeds"}};

Cell who_cell(const Group& group) {
  Cell cell(group.label(), {group.name(), std::to_string(group.records.size())});
  cell.note = group.experiment().remark;
  return cell;
}

/// Beside published figures: with its model, which may be another.
Cell ours_cell(const Group& group) {
  Cell cell(fmt::format("ours, {}: {}", group.experiment().config.model, group.label()), {group.name()});
  cell.note = group.experiment().remark;
  return cell;
}

bool several_seeds(const std::vector<const Group*>& groups) {
  return std::ranges::any_of(groups, [](const Group* group) { return group->records.size() > 1; });
}

void note_seeds(Table& table, const std::vector<const Group*>& groups) {
  if (several_seeds(groups)) {
    table.notes.emplace_back("Over several seeds: mean ± half of the 95 % interval (Student's t).");
  }
}

void note_missing(Table& table, const StudyView& view, std::initializer_list<std::string_view> names) {
  if (const std::string missing = view.missing(names); !missing.empty()) table.notes.push_back(missing);
}

Table new_table(std::string name, std::string title, std::vector<Column> header) {
  Table table(std::move(header));
  table.name = std::move(name);
  table.title = std::move(title);
  return table;
}

std::vector<const Group*> methods(const StudyView& view) {
  std::vector<const Group*> groups;
  for (const Group& group : view.groups()) {
    if (is_method(group)) groups.push_back(&group);
  }
  return groups;
}

std::vector<const Group*> with_prefix(const StudyView& view, std::string_view prefix) {
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

int most_shards(const std::vector<const Group*>& groups) {
  int most = 0;
  for (const Group* group : groups) most = std::max(most, group->experiment().config.shards);
  return most;
}

/// A quantity of the shard with this number.
Quantity of_shard(int shard, std::function<std::optional<double>(const Examined&)> quantity) {
  return [who = fmt::format("shard {}", shard), quantity = std::move(quantity)](const Record& record) {
    const auto found = std::ranges::find(record.shards, who, &Examined::who);
    return found == record.shards.end() ? std::nullopt : quantity(*found);
  };
}
Quantity shard_mia(int shard) {
  return of_shard(shard, [](const Examined& examined) {
    return examined.attack.mia ? std::optional(examined.attack.mia->mean) : std::nullopt;
  });
}
Quantity shard_own_mia(int shard) {
  return of_shard(shard, [](const Examined& examined) {
    return examined.own.mia ? std::optional(examined.own.mia->mean) : std::nullopt;
  });
}
Quantity shard_top1(int shard) {
  return of_shard(shard, [](const Examined& examined) {
    const auto found = examined.sets.find("test");
    return found == examined.sets.end() ? std::nullopt : std::optional(found->second.top1);
  });
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
    const auto macs = estimate(group, multiply_adds());
    table.add({who_cell(*group), passes_cell(estimate(group, sample_passes())),
               Cell(macs ? with_prefix(macs->mean) : none, values_of(macs)),
               seconds_cell(estimate(group, train_seconds())), seconds_cell(estimate(group, eval_seconds())),
               seconds_cell(estimate(group, attack_seconds()))});
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
  const std::vector<const Group*> groups = with_prefix(view, "shards-");
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
  const std::vector<const Group*> shapes = with_prefix(view, "shape-");
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
    const std::optional<double> share =
        passes && training && *training > 0 ? std::optional(*passes / *training) : std::nullopt;
    table.add({who_cell(*group), Cell(grouped(record.forgotten), {std::to_string(record.forgotten)}),
               record.map ? Cell(std::to_string(touched)) : Cell(none),
               record.map ? Cell(std::to_string(trained)) : Cell(none), passes_cell(estimate(group, sample_passes())),
               Cell(share ? fmt::format("{:.1f}", 100 * *share) : none, {value_text(share)}),
               seconds_cell(estimate(group, train_seconds())), percent_cell(estimate(group, top1("test"))),
               percent_cell(estimate(group, top1("forget"))), attack_cell(group),
               ceiling_cell(estimate(view.ceiling(*group), mia()), 1, 3),
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
  const std::vector<const Group*> groups = with_prefix(view, "sweep-");
  for (const Group* group : groups) {
    if (group->name().ends_with("-unlearned")) continue;
    const Group* unlearned = view.find(fmt::format("{}-unlearned", group->name()));
    const TrainingConfig& config = group->experiment().config;
    const auto training = mean(group, sample_passes()), request = mean(unlearned, sample_passes());
    const std::optional<double> share =
        training && request && *training > 0 ? std::optional(*request / *training) : std::nullopt;
    table.add({who_cell(*group), std::to_string(config.shards), std::to_string(config.epochs.size()),
               percent_cell(estimate(group, top1("test"))), percent_cell(estimate(unlearned, top1("test"))),
               attack_cell(group), attack_cell(unlearned), passes_cell(estimate(group, sample_passes())),
               passes_cell(estimate(unlearned, sample_passes())),
               Cell(share ? fmt::format("{:.1f}", 100 * *share) : none, {value_text(share)})});
  }
  if (table.empty()) table.notes.emplace_back("Not in this preset: a sweep over shards and slices.");
  note_seeds(table, groups);
  return table;
}

namespace {

/// The plan's costs by setting (S, R) and number of samples forgotten K.
using Costs = std::map<std::pair<int, int>, std::map<int, const CostEstimate*>>;
Costs costs_by_setting(const StudyView& view) {
  Costs costs;
  for (const CostEstimate& cost : view.study().costs) costs[{cost.shards, cost.slices}][cost.requests] = &cost;
  return costs;
}

std::set<int> numbers_of_requests(const StudyView& view) {
  std::set<int> requests;
  for (const CostEstimate& cost : view.study().costs) requests.insert(cost.requests);
  return requests;
}

const Column setting_column{"", "", {"shards", "slices"}};
Cell setting_cell(const std::pair<int, int>& setting) {
  return {fmt::format("S = {}, R = {}", setting.first, setting.second),
          {std::to_string(setting.first), std::to_string(setting.second)}};
}

Cell count_cell(std::optional<double> count) {
  return {count ? grouped(std::llround(*count)) : none, {value_text(count)}};
}

}  // namespace

Table formulas_table(const StudyView& view) {
  const std::set<int> requests = numbers_of_requests(view);
  std::vector<Column> header{setting_column,
                             {"", "epochs a stage", {"epochs"}},
                             {"sample passes, K = 1", "plan", {"request_passes"}},
                             {"sample passes, K = 1", "formula", {"formula_passes"}},
                             {"sample passes, K = 1", "off by, %", {"relative_difference"}}};
  for (const int k : requests) {
    const std::string group = fmt::format("shards touched, K = {}", grouped(k));
    header.push_back({group, "plan", {fmt::format("shards_touched_k{}", k)}});
    header.push_back({group, "formula", {fmt::format("formula_shards_k{}", k)}});
  }
  Table table = new_table("formulas", "Cost of a request by the plan, against the formulas", header);
  int shards = 0;
  for (const auto& [setting, by_requests] : costs_by_setting(view)) {
    if (shards != 0 && setting.first != shards) table.add_rule();
    shards = setting.first;
    std::optional<double> plan, formula, off;
    if (const auto one = by_requests.find(1); one != by_requests.end()) {
      plan = one->second->request_passes;
      formula = one->second->formula_passes;
      if (formula && *formula > 0) off = *plan / *formula - 1;
    }
    std::vector<Cell> row{
        setting_cell(setting), std::to_string(by_requests.begin()->second->epochs), count_cell(plan),
        count_cell(formula),
        Cell(off ? fmt::format("{}{:.1f}", *off < 0 ? "−" : "+", 100 * std::abs(*off)) : none, {value_text(off)})};
    for (const int k : requests) {
      const auto found = by_requests.find(k);
      for (const auto field : {&CostEstimate::shards_touched, &CostEstimate::formula_shards}) {
        const std::optional<double> touched =
            found == by_requests.end() ? std::nullopt : std::optional((*found->second).*field);
        row.emplace_back(decimals(touched, 2), std::vector{value_text(touched)});
      }
    }
    table.add(row);
  }
  if (table.empty()) {
    table.notes.emplace_back("Not in this preset: costs by the plan.");
  } else {
    table.notes.push_back(fmt::format(
        "K samples drawn at random and forgotten in one request, mean of {} draws, by the plan that unlearning carries "
        "out. Formulas: (1/R)·Σ_m Σ_(t≥m) e_t·n_t sample passes for one sample; S·(1 − (1 − 1/S)^K) shards touched.",
        view.study().costs.front().draws));
  }
  return table;
}

Table planner_table(const StudyView& view) {
  const std::set<int> requests = numbers_of_requests(view);
  const double rate = view.study().samples_per_second;
  std::vector<Column> header{setting_column, {"training", "passes", {"training_passes"}}};
  if (rate > 0) header.push_back({"training", "time", {"training_seconds"}});
  for (const int k : requests) {
    const std::string group = fmt::format("K = {}", grouped(k));
    header.push_back({group, "passes", {fmt::format("passes_k{}", k)}});
    header.push_back({group, "%", {fmt::format("share_k{}", k)}});
    if (rate > 0) header.push_back({group, "time", {fmt::format("seconds_k{}", k)}});
  }
  Table table = new_table("planner", "What K deletions in one request cost", header);
  const auto time_cell = [rate](std::optional<double> passes) -> Cell {
    if (!passes) return {none, {""}};
    return {duration(*passes / rate), {value_text(*passes / rate)}};
  };
  int shards = 0;
  for (const auto& [setting, by_requests] : costs_by_setting(view)) {
    if (shards != 0 && setting.first != shards) table.add_rule();
    shards = setting.first;
    const auto training = static_cast<double>(by_requests.begin()->second->training_passes);
    std::vector<Cell> row{setting_cell(setting), count_cell(training)};
    if (rate > 0) row.push_back(time_cell(training));
    for (const int k : requests) {
      std::optional<double> passes, share;
      if (const auto found = by_requests.find(k); found != by_requests.end()) passes = found->second->request_passes;
      if (passes && training > 0) share = *passes / training;
      row.push_back(count_cell(passes));
      row.emplace_back(share ? fmt::format("{:.1f}", 100 * *share) : none, std::vector{value_text(share)});
      if (rate > 0) row.push_back(time_cell(passes));
    }
    table.add(row);
  }
  if (table.empty()) {
    table.notes.emplace_back("Not in this preset: costs by the plan.");
    return table;
  }
  table.notes.emplace_back("Passes: sample passes; %: of the training's.");
  table.notes.push_back(rate > 0
                            ? fmt::format("Times at the {:.0f} samples a second that training {} was measured at here.",
                                          rate, view.study().rate_model)
                            : std::string("No times: the rate of training was not measured."));
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
