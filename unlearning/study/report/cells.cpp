#include "unlearning/study/report/cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace nepenthe {

std::string value_text(std::optional<double> value) {
  return value && std::isfinite(*value) ? fmt::format("{}", *value) : std::string();
}

namespace {

std::vector<std::string> values_of(const std::optional<Estimate>& estimate) {
  if (!estimate) return {"", ""};
  return {value_text(estimate->mean), value_text(estimate->half_width)};
}

/// "166 T"
std::string si_prefixed(double number) {
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

}  // namespace

Column quantity_column(std::string group, std::string title, const std::string& name) {
  return {std::move(group), std::move(title), {name, fmt::format("{}_half_width", name)}};
}

Cell scaled_cell(const std::optional<Estimate>& estimate, double scale, int digits) {
  if (!estimate) return {none, values_of(estimate)};
  const std::string text = fmt::format("{:.{}f}", scale * estimate->mean, digits);
  if (!estimate->half_width) return {text, values_of(estimate)};
  return {fmt::format("{} ± {:.{}f}", text, scale * *estimate->half_width, digits), values_of(estimate)};
}
Cell percent_cell(const std::optional<Estimate>& estimate) { return scaled_cell(estimate, 100, 2); }

Cell ceiling_cell(const std::optional<Estimate>& estimate, double scale, int digits) {
  return {estimate ? fmt::format("{:.{}f}", scale * estimate->mean, digits) : none, values_of(estimate)};
}

Cell attack_cell(const Group* group) { return scaled_cell(estimate(group, mia()), 1, 3); }

Cell share_cell(std::optional<double> part, std::optional<double> whole) {
  const auto share = part && whole && *whole > 0 ? std::optional(*part / *whole) : std::nullopt;
  return {share ? fmt::format("{:.1f}", 100 * *share) : none, {value_text(share)}};
}

Cell passes_cell(const std::optional<Estimate>& estimate) {
  return {estimate ? grouped(std::llround(estimate->mean)) : none, values_of(estimate)};
}
Cell macs_cell(const std::optional<Estimate>& estimate) {
  return {estimate ? si_prefixed(estimate->mean) : none, values_of(estimate)};
}
Cell seconds_cell(const std::optional<Estimate>& estimate) {
  return {estimate ? duration(estimate->mean) : none, values_of(estimate)};
}

Cell who_cell(const Group& group) {
  Cell cell(group.label(), {group.name(), std::to_string(group.records.size())});
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

int most_shards(const std::vector<const Group*>& groups) {
  int most = 0;
  for (const Group* group : groups) most = std::max(most, group->experiment().config.shards);
  return most;
}

}  // namespace nepenthe
