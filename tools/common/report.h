// Results for people (tables) and for programs (JSON).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "unlearning/attacks/mia.h"
#include "unlearning/metrics.h"

namespace nepenthe {

/// A table of text whose columns line up: the first to the left, the others to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> header);
  void add(std::vector<std::string> row);
  void add_rule();
  /// With a line break behind every row.
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;  // an empty row is a rule
};

/// As much of a text as `columns` columns of a terminal hold, one for each code point.
std::string first_columns(const std::string& text, int columns);

/// "72.63 %"; "–" where there is none.
std::string percent(double fraction);
std::string percent(std::optional<double> fraction);
/// "0.5123"; "–" where there is none.
std::string decimals(std::optional<double> value, int digits);
/// "1 234 567"
std::string grouped(std::int64_t number);
/// "0.42 s", "12.3 s", "4 min 05 s", "2 h 03 min"
std::string duration(double seconds);

nlohmann::ordered_json to_json(const Metrics& metrics);
/// {"mean", "standard_error", "interval", "scores", "auc", "tpr_at_fpr", "members", "nonmembers"}; null without attack.
nlohmann::ordered_json to_json(const MiaOutcome& outcome);
/// {"sample_passes", "macs", "train_seconds", "eval_seconds"}
nlohmann::ordered_json cost_json(std::int64_t sample_passes, std::int64_t macs, double train_seconds,
                                 double eval_seconds);

}  // namespace nepenthe
