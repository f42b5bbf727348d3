#include "unlearning/class_names.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstddef>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/base/error.h"

namespace nepenthe {
namespace {

constexpr std::size_t most_suggestions = 5, most_listed = 20;

std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

// Levenshtein distance, row by row.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({changed, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

std::vector<std::string> near_matches(std::string_view text, std::span<const std::string> names) {
  // Nobody types a name this long; it also bounds the work.
  if (text.empty() || text.size() > 64) return {};
  const std::string wanted = lower_case(text);
  const std::size_t allowed = wanted.size() < 4 ? 1 : std::max<std::size_t>(2, wanted.size() / 3);
  std::vector<std::pair<std::size_t, std::string>> found;
  for (const std::string& name : names) {
    const std::string candidate = lower_case(name);
    const std::size_t distance = edit_distance(wanted, candidate);
    const bool part = wanted.size() >= 3 && candidate.find(wanted) != std::string::npos;
    if (part || distance <= allowed) found.emplace_back(distance, name);
  }
  std::ranges::sort(found);
  std::vector<std::string> matches;
  for (const auto& [distance, name] : found)
    if (matches.size() < most_suggestions) matches.push_back(name);
  return matches;
}

}  // namespace

std::int32_t find_class(std::string_view text, std::span<const std::string> names, std::string_view kind) {
  if (const auto found = std::ranges::find(names, text); found != names.end())
    return static_cast<std::int32_t>(found - names.begin());
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool all_read = end == text.data() + text.size() && !text.empty();
  if (all_read && error == std::errc() && number < names.size()) return static_cast<std::int32_t>(number);

  const std::string numbers = fmt::format("a number from 0 to {}", names.size() - 1);
  if (all_read) throw UsageError(fmt::format("there is no {} {}: use {} or a name", kind, text, numbers));
  const std::vector<std::string> near = near_matches(text, names);
  if (!near.empty())
    throw UsageError(
        fmt::format("unknown {} '{}': did you mean {}? (or {})", kind, text, fmt::join(near, ", "), numbers));
  const auto listed = names.first(std::min(names.size(), most_listed));
  throw UsageError(fmt::format("unknown {} '{}': use {} or a name: {}{}", kind, text, numbers, fmt::join(listed, ", "),
                               listed.size() < names.size() ? " … (all are in the data's names file)" : ""));
}

}  // namespace nepenthe
