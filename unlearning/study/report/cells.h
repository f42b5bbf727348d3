// Cells and columns that the report's tables share: text for people, plain values for CSV.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "unlearning/study/report/view.h"
#include "unlearning/study/table.h"

namespace nepenthe {

/// In the place of a value that there is not.
inline constexpr const char* none = "–";

/// The shortest text that reads back as the same number; empty for none, and for what is not finite.
std::string value_text(std::optional<double> value);

/// A quantity over seeds has two values in CSV: its mean, under `name`, and the half-width of its interval.
Column quantity_column(std::string group, std::string title, const std::string& name);
/// Who a row is of: the experiment's label, its remark as a footnote.
inline const Column who_column{"", "", {"experiment", "seeds"}};
Cell who_cell(const Group& group);

/// Scaled, with its half-width where there is one: "72.63", "72.63 ± 0.41".
Cell scaled_cell(const std::optional<Estimate>& estimate, double scale, int digits);
/// A fraction as percent, two digits, without the sign.
Cell percent_cell(const std::optional<Estimate>& estimate);
/// Without its half-width, which stands in the row that it comes from.
Cell ceiling_cell(const std::optional<Estimate>& estimate, double scale, int digits);
/// MIA of the network or the ensemble, three digits.
Cell attack_cell(const Group* group);
/// Of a whole, as percent with one digit.
Cell share_cell(std::optional<double> part, std::optional<double> whole);
Cell passes_cell(const std::optional<Estimate>& estimate);
/// "166 T"
Cell macs_cell(const std::optional<Estimate>& estimate);
Cell seconds_cell(const std::optional<Estimate>& estimate);

Table new_table(std::string name, std::string title, std::vector<Column> header);
bool several_seeds(const std::vector<const Group*>& groups);
/// A note under the table where a group has several seeds; where the study lacks some of these experiments.
void note_seeds(Table& table, const std::vector<const Group*>& groups);
void note_missing(Table& table, const StudyView& view, std::initializer_list<std::string_view> names);

/// The largest number of shards of these.
int most_shards(const std::vector<const Group*>& groups);

}  // namespace nepenthe
