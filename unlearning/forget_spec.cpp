#include "unlearning/forget_spec.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <iterator>
#include <numeric>
#include <optional>
#include <system_error>

#include <fmt/format.h>

#include "engine/base/error.h"
#include "engine/base/random.h"
#include "engine/formats/numbers.h"
#include "unlearning/class_names.h"

namespace nepenthe {
namespace {

using Ids = std::vector<std::int32_t>;

constexpr std::array<std::string_view, 5> kinds = {"range", "ids", "class", "coarse", "random"};
constexpr std::string_view grammar =
    "use range:A-B, ids:FILE, class:NAME|N, coarse:NAME|N or random:FRACTION[:SEED], each with @FRACTION if wanted, "
    "separated by commas";

// The number that is the whole of `text`, or nothing.
template <class Number>
std::optional<Number> parse_number(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

double parse_fraction(std::string_view text) {
  const std::optional<double> fraction = parse_number<double>(text);
  if (!fraction || !(*fraction > 0 && *fraction <= 1))
    throw UsageError(fmt::format("'{}' is no fraction: use a number above 0 and at most 1, such as 0.2", text));
  return *fraction;
}

bool starts_a_part(std::string_view text) {
  return std::ranges::any_of(kinds, [&](std::string_view kind) {
    return text.starts_with(kind) && text.substr(kind.size()).starts_with(':');
  });
}

struct Part {
  std::string_view text, kind, set;
  std::optional<std::string_view> fraction;
};

/// `text` is one part, with or without @FRACTION.
Part parse_part(std::string_view text) {
  const std::size_t colon = text.find(':');
  Part part{.text = text, .kind = text.substr(0, colon), .set = text.substr(colon + 1)};
  const std::size_t at = part.set.rfind('@');
  if (at == std::string_view::npos) return part;
  const std::string_view after = part.set.substr(at + 1);
  constexpr std::string_view begins_a_number = "0123456789.-+";
  if (part.kind == "ids" && (after.empty() || begins_a_number.find(after.front()) == std::string_view::npos)) {
    return part;
  }
  part.fraction = after;
  part.set = part.set.substr(0, at);
  return part;
}

bool names_a_file(std::string_view path) {
  constexpr std::size_t longest = 4096;  // PATH_MAX, so that a long list does not ask for ever longer names
  if (path.size() >= longest) return false;
  std::error_code failed;
  const auto status = std::filesystem::status(std::filesystem::path(path), failed);
  return std::filesystem::exists(status) && !std::filesystem::is_directory(status);
}

/// The part that `spec` begins with.
Part first_part(std::string_view spec) {
  if (!starts_a_part(spec)) throw UsageError(std::string(grammar));
  std::size_t comma = spec.find(',');
  if (!spec.starts_with("ids:")) return parse_part(spec.substr(0, comma));
  std::optional<Part> first;
  while (true) {
    while (comma != std::string_view::npos && !starts_a_part(spec.substr(comma + 1))) comma = spec.find(',', comma + 1);
    Part part = parse_part(spec.substr(0, comma));
    if (!first) first = part;
    if (names_a_file(part.set)) return part;
    if (const std::string_view whole = part.text.substr(part.kind.size() + 1); names_a_file(whole)) {
      return {.text = part.text, .kind = part.kind, .set = whole};
    }
    if (comma == std::string_view::npos) return *first;
    comma = spec.find(',', comma + 1);
  }
}

Ids all_ids(std::size_t samples) {
  Ids ids(samples);
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

/// The order depends on the ids and the seed alone: so what a part draws does not depend on where it stands.
Ids first_in_keyed_order(const Ids& ids, double fraction, std::uint64_t seed) {
  const auto wanted = static_cast<std::size_t>(std::round(fraction * static_cast<double>(ids.size())));
  Ids chosen = keyed_order({.seed = seed, .purpose = purpose::forget_fraction}, ids);
  chosen.resize(std::min(ids.size(), std::max<std::size_t>(1, wanted)));
  return chosen;
}

Ids resolve_range(std::string_view text, const ForgetContext& context) {
  const std::size_t dash = text.find('-');
  const auto begin = parse_number<std::uint64_t>(text.substr(0, dash));
  const auto end = parse_number<std::uint64_t>(dash == std::string_view::npos ? "" : text.substr(dash + 1));
  if (!begin || !end)
    throw UsageError(
        fmt::format("'{}' is no range of positions: use A-B, such as 20000-30000 for [20000, 30000)", text));
  if (*end > context.permutation.size())
    throw UsageError(fmt::format("the range ends at {}, after the last of {} samples: use at most {}", *end,
                                 context.permutation.size(), context.permutation.size()));
  if (*begin >= *end)
    throw UsageError(
        fmt::format("the range holds nothing, as {} is not below {}: use A-B for [A, B) with A below B", *begin, *end));
  return {context.permutation.begin() + static_cast<std::ptrdiff_t>(*begin),
          context.permutation.begin() + static_cast<std::ptrdiff_t>(*end)};
}

Ids resolve_class(std::string_view text, std::span<const std::int32_t> labels, std::span<const std::string> names,
                  std::string_view kind) {
  const std::int32_t wanted = find_class(text, names, kind);
  Ids ids;
  for (std::size_t i = 0; i < labels.size(); ++i)
    if (labels[i] == wanted) ids.push_back(static_cast<std::int32_t>(i));
  if (ids.empty()) throw UsageError(fmt::format("no training sample is of {} '{}'", kind, text));
  return ids;
}

Ids resolve_set(std::string_view kind, std::string_view text, const ForgetContext& context) {
  if (kind == "range") return resolve_range(text, context);
  if (kind == "ids") return read_record_numbers(std::filesystem::path(text), context.labels.size());
  if (kind == "class") return resolve_class(text, context.labels, context.class_names, "class");
  if (kind == "coarse") {
    if (context.coarse_labels.empty() || context.coarse_class_names.empty())
      throw UsageError("this data set has no coarse classes: use class:NAME|N");
    return resolve_class(text, context.coarse_labels, context.coarse_class_names, "coarse class");
  }
  const std::size_t colon = text.find(':');
  const double fraction = parse_fraction(text.substr(0, colon));
  std::uint64_t seed = context.seed;
  if (colon != std::string_view::npos) {
    const auto given = parse_number<std::uint64_t>(text.substr(colon + 1));
    if (!given) throw UsageError(fmt::format("'{}' is no seed: use a whole number from 0 on", text.substr(colon + 1)));
    seed = *given;
  }
  return first_in_keyed_order(all_ids(context.labels.size()), fraction, seed);
}

Ids resolve_part(const Part& part, const ForgetContext& context) {
  std::optional<double> fraction;
  if (part.fraction) fraction = parse_fraction(*part.fraction);
  if (part.set.empty()) throw UsageError(fmt::format("nothing follows '{}:': {}", part.kind, grammar));
  Ids ids = resolve_set(part.kind, part.set, context);
  if (!fraction) return ids;
  // Before the fraction is taken: an id that a file names twice counts once.
  std::ranges::sort(ids);
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return first_in_keyed_order(ids, *fraction, context.seed);
}

/// Calls visit(part) for one after the other; what it throws is said with the part.
template <class Visit>
void each_part(std::string_view spec, Visit visit) {
  if (spec.empty()) throw UsageError(fmt::format("the forget specification is empty: {}", grammar));
  for (std::string_view rest = spec;;) {
    std::string_view text = rest.substr(0, rest.find(','));
    try {
      const Part part = first_part(rest);
      text = part.text;
      visit(part);
    } catch (const std::runtime_error& error) {  // also of a file that is damaged
      throw UsageError(fmt::format("forget specification, part '{}': {}", text, error.what()));
    }
    if (text.size() == rest.size()) break;
    rest.remove_prefix(text.size() + 1);
  }
}

}  // namespace

ForgetContext forget_context(const Dataset& dataset, std::span<const std::int32_t> permutation, std::uint64_t seed) {
  return {.labels = dataset.train.labels,
          .coarse_labels = dataset.train.coarse_labels,
          .class_names = dataset.class_names,
          .coarse_class_names = dataset.coarse_class_names,
          .permutation = permutation,
          .seed = seed};
}

std::vector<std::int32_t> resolve_forget_spec(std::string_view spec, const ForgetContext& context) {
  std::vector<bool> named(context.labels.size(), false);
  each_part(spec, [&](const Part& part) {
    for (const std::int32_t id : resolve_part(part, context)) named[static_cast<std::size_t>(id)] = true;
  });
  Ids ids;
  for (std::size_t i = 0; i < named.size(); ++i)
    if (named[i]) ids.push_back(static_cast<std::int32_t>(i));
  return ids;
}

std::vector<std::filesystem::path> files_of_forget_spec(std::string_view spec) {
  std::vector<std::filesystem::path> files;
  each_part(spec, [&](const Part& part) {
    if (part.kind == "ids") files.emplace_back(part.set);
  });
  return files;
}

std::vector<std::int32_t> retained_ids(int samples, std::span<const std::int32_t> forgotten) {
  const Ids all = all_ids(static_cast<std::size_t>(samples));
  Ids retained;
  std::ranges::set_difference(all, forgotten, std::back_inserter(retained));
  return retained;
}

void require_something_retained(int samples, std::span<const std::int32_t> forgotten) {
  if (forgotten.size() >= static_cast<std::size_t>(samples))
    throw UsageError(
        fmt::format("all {} training samples would be forgotten and none is left to train on: forget fewer", samples));
}

}  // namespace nepenthe
