// What the files of a run's folder say of it besides its checkpoints: run.json, which never changes, and the journal.
//
// The first format of run.json (1) had no digests and kept what is forgotten in forgotten.json. Such runs are read on:
// the first line that this version adds to their journal ("adopted") takes over the forgotten ids, and from then on
// the journal is the truth as it is for runs of format 2.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "unlearning/provenance/identity.h"
#include "unlearning/provenance/journal.h"

namespace nepenthe {

inline constexpr const char* run_file = "run.json";
inline constexpr const char* journal_file = "manifest.jsonl";
inline constexpr const char* conv_algorithms_file = "conv_algorithms.json";
inline constexpr const char* forgotten_file = "forgotten.json";  // of format 1

/// run.json.
struct RunFacts {
  int format = 2;
  std::string identity;  // verbatim; see identity.h
  TrainingConfig config;
  std::string permutation_digest, test_data_digest;
  std::filesystem::path data_folder;
  std::string device;   // that made the run
  std::string weights;  // what the networks started from (origin.h), as JSON; empty: nothing, or not recorded
};

/// Writes the run.json of a new run, with a digest of its contents.
void write_run_file(const std::filesystem::path& folder, const RunFacts& facts, const Device& device);

/// Throws UsageError where there is no run, Error where the file is damaged or of a newer version.
RunFacts read_run_file(const std::filesystem::path& folder);

/// A recipe that stages were given in place of the run's, with its text in their lineage.
struct StageRecipe {
  Recipe recipe;
  std::string text;
};

/// A request that an earlier version wrote into its manifest and then lost.
struct LostRequest {
  std::string request;           // as it was stated
  std::string forgotten_digest;  // of what would be forgotten with it
};

/// What the journal adds up to.
struct History {
  std::vector<std::int32_t> forgotten;                 // sorted
  std::map<std::pair<int, int>, StageRecipe> recipes;  // by shard and stage
  bool completed = false;                              // the last line says that nothing was left to do
  bool adopted = true;                                 // the journal is the truth; else forgotten.json still is
  std::optional<LostRequest> lost;
  /// Of the names that requests went by, where the identity has none; empty: not recorded.
  std::string class_names_digest;
  /// The CPU kernels that made, or were last set to make, a checkpoint, by shard and stage; "" on CUDA.
  std::map<std::pair<int, int>, std::string> revisions;
  std::set<std::string> earlier_revisions;  // those at work when it was not yet recorded by checkpoint
};

/// Throws Error where a file is damaged.
History read_history(const std::filesystem::path& folder, const RunFacts& facts, const JournalLines& lines);

}  // namespace nepenthe
