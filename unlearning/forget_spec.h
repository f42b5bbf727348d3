// What is to be forgotten, as a person writes it (PROGRAMS.md, --forget and --exclude).
//
//   SPEC     = PART{,PART}                          the parts' sets are united; an id named twice counts once
//   PART     = SET[@FRACTION]                       a seeded part of the set
//   SET      = range:A-B                            positions [A, B) in the permutation P
//            | ids:FILE                             record numbers in the training data (engine/formats/numbers.h)
//            | class:NAME|N  | coarse:NAME|N        all samples of a class; names (case matters) go before numbers
//            | random:FRACTION[:SEED]               of all samples; without SEED the run's seed
//
// A FRACTION is in (0, 1] and takes exactly round(FRACTION·count) samples (halves up), at least one: the first in keyed
// order (purpose::forget_fraction). `@` takes the run's seed. The order depends on the seed and the sample ids alone: a
// part means the same samples wherever it stands, and the larger of two fractions holds the smaller.
// File names may hold colons, commas and @. An ids part may end at a comma only where another part begins after it
// (`,range:`, `,ids:`, `,class:`, `,coarse:`, `,random:`), and the last @ may begin a fraction only where a digit or
// one of ".-+" follows it. Where a name could end in several places, the first where it names a file counts: with a
// file a@0.5 and none a, `ids:a@0.5` is that file, and with both it is half of a (and `ids:a@0.5@1` is all of a@0.5).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"

namespace nepenthe {

/// What a specification is resolved against; the spans must outlive it.
struct ForgetContext {
  std::span<const std::int32_t> labels;             // (samples), of the training data
  std::span<const std::int32_t> coarse_labels;      // (samples), empty where there are none
  std::span<const std::string> class_names;         // by label
  std::span<const std::string> coarse_class_names;  // by coarse label
  std::span<const std::int32_t> permutation;        // (samples), P
  std::uint64_t seed = 1;                           // the run's
};

/// The context of a data set's training data.
ForgetContext forget_context(const Dataset& dataset, std::span<const std::int32_t> permutation, std::uint64_t seed);

/// The record ids that `spec` names, sorted, each once, at least one. Throws UsageError with one line that names the
/// part and says what would be right: for anything outside the grammar, an unknown class, a coarse class where there is
/// none, a range or id outside the data, a part that names no sample, an ids file that cannot be read or holds
/// something else (with the line or element).
std::vector<std::int32_t> resolve_forget_spec(std::string_view spec, const ForgetContext& context);

/// The files that its ids parts name. Throws UsageError for what is outside the grammar.
std::vector<std::filesystem::path> files_of_forget_spec(std::string_view spec);

/// The ids 0 … samples−1 without `forgotten` (sorted, unique), sorted.
std::vector<std::int32_t> retained_ids(int samples, std::span<const std::int32_t> forgotten);

/// For programs that train on what is left: throws UsageError where nothing is. `forgotten` is sorted and unique.
void require_something_retained(int samples, std::span<const std::int32_t> forgotten);

}  // namespace nepenthe
