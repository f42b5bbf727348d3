#include "unlearning/forget_spec.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <fstream>
#include <iterator>
#include <numeric>
#include <optional>
#include <system_error>

#include <fmt/format.h>

#include "engine/base/error.h"
#include "engine/base/random.h"
#include "unlearning/class_names.h"

namespace nepenthe {
namespace {

using Ids = std::vector<std::int32_t>;

constexpr std::array<std::string_view, 5> kinds = {"range", "ids", "class", "coarse", "random"};
constexpr std::string_view grammar =
    "use range:A-B, ids:FILE, class:NAME|N, coarse:NAME|N or random:FRACTION[:SEED], each with @FRACTION if wanted, "
    "separated by commas";
constexpr std::size_t most_parts = 65'536;  // a random stream's stage has 16 bits

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

std::vector<std::string_view> split_parts(std::string_view spec) {
  std::vector<std::string_view> parts;
  while (true) {
    const bool file = spec.starts_with("ids:");
    std::size_t comma = spec.find(',');
    while (file && comma != std::string_view::npos && !starts_a_part(spec.substr(comma + 1)))
      comma = spec.find(',', comma + 1);
    parts.push_back(spec.substr(0, comma));
    if (comma == std::string_view::npos) return parts;
    spec.remove_prefix(comma + 1);
  }
}

// Any text of a file, made fit for one line of a message.
std::string excerpt(std::string_view text) {
  constexpr std::size_t longest = 40;
  std::string shown(text.substr(0, longest));
  for (char& c : shown)
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  return text.size() > longest ? shown + "…" : shown;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blanks = " \t\r";
  const std::size_t begin = text.find_first_not_of(blanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

Ids all_ids(std::size_t samples) {
  Ids ids(samples);
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

Ids first_in_keyed_order(const Ids& ids, double fraction, std::uint64_t seed, std::size_t part) {
  const auto wanted = static_cast<std::size_t>(std::round(fraction * static_cast<double>(ids.size())));
  Ids chosen =
      keyed_order({.seed = seed, .purpose = purpose::forget_fraction, .stage = static_cast<std::uint32_t>(part)}, ids);
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

Ids read_ids(const std::filesystem::path& path, std::size_t samples) {
  std::error_code ignored;
  std::ifstream file(path);
  if (!file || std::filesystem::is_directory(path, ignored))
    throw UsageError(fmt::format("cannot read '{}': name a text file with one record number a line", path.string()));
  Ids ids;
  std::string line;
  for (std::size_t number = 1; std::getline(file, line); ++number) {
    const std::string_view text = trimmed(line);
    if (text.empty()) continue;
    const bool digits =
        text.find_first_not_of("0123456789", text.front() == '-' && text.size() > 1 ? 1 : 0) == std::string_view::npos;
    if (!digits)
      throw UsageError(fmt::format("{}, line {}: '{}' is no record number: use one number from 0 to {} a line",
                                   path.string(), number, excerpt(text), samples - 1));
    const auto id = parse_number<std::uint64_t>(text);  // nothing where negative or beyond 64 bits
    if (!id || *id >= samples)
      throw UsageError(fmt::format("{}, line {}: there is no record {}: the training data has 0 to {}", path.string(),
                                   number, excerpt(text), samples - 1));
    ids.push_back(static_cast<std::int32_t>(*id));
  }
  if (file.bad()) throw UsageError(fmt::format("'{}' could not be read to its end", path.string()));
  if (ids.empty())
    throw UsageError(
        fmt::format("'{}' holds no record numbers: give one number from 0 to {} a line", path.string(), samples - 1));
  return ids;
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

Ids resolve_set(std::string_view kind, std::string_view text, const ForgetContext& context, std::size_t part) {
  if (kind == "range") return resolve_range(text, context);
  if (kind == "ids") return read_ids(std::filesystem::path(text), context.labels.size());
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
  return first_in_keyed_order(all_ids(context.labels.size()), fraction, seed, part);
}

Ids resolve_part(std::string_view text, const ForgetContext& context, std::size_t part) {
  if (!starts_a_part(text)) throw UsageError(std::string(grammar));
  const std::size_t colon = text.find(':');
  const std::string_view kind = text.substr(0, colon);
  std::string_view set = text.substr(colon + 1);
  std::optional<double> fraction;
  if (const std::size_t at = set.rfind('@'); at != std::string_view::npos) {
    const std::string_view after = set.substr(at + 1);
    if (kind != "ids" || (!after.empty() && std::string_view("0123456789.-+").find(after.front()) != after.npos)) {
      fraction = parse_fraction(after);
      set = set.substr(0, at);
    }
  }
  if (set.empty()) throw UsageError(fmt::format("nothing follows '{}:': {}", kind, grammar));
  Ids ids = resolve_set(kind, set, context, part);
  if (!fraction) return ids;
  // Before the fraction is taken: an id that a file names twice counts once.
  std::ranges::sort(ids);
  const auto repeated = std::ranges::unique(ids);
  ids.erase(repeated.begin(), repeated.end());
  return first_in_keyed_order(ids, *fraction, context.seed, part);
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
  if (spec.empty()) throw UsageError(fmt::format("the forget specification is empty: {}", grammar));
  const std::vector<std::string_view> parts = split_parts(spec);
  if (parts.size() > most_parts)
    throw UsageError(
        fmt::format("the forget specification has {} parts: use at most {}, or ids:FILE", parts.size(), most_parts));
  std::vector<bool> named(context.labels.size(), false);
  for (std::size_t part = 0; part < parts.size(); ++part) {
    try {
      for (const std::int32_t id : resolve_part(parts[part], context, part)) named[static_cast<std::size_t>(id)] = true;
    } catch (const UsageError& error) {
      throw UsageError(fmt::format("forget specification, part '{}': {}", parts[part], error.what()));
    }
  }
  Ids ids;
  for (std::size_t i = 0; i < named.size(); ++i)
    if (named[i]) ids.push_back(static_cast<std::int32_t>(i));
  return ids;
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
