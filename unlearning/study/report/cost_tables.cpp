#include <fmt/format.h>

#include <cmath>
#include <map>
#include <set>

#include "unlearning/study/report/cells.h"
#include "unlearning/study/report/tables.h"

namespace nepenthe {
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
      std::optional<double> passes;
      if (const auto found = by_requests.find(k); found != by_requests.end()) passes = found->second->request_passes;
      row.push_back(count_cell(passes));
      row.push_back(share_cell(passes, training));
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

}  // namespace nepenthe
