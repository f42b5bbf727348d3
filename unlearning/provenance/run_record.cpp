#include "unlearning/provenance/run_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/formats/json_fields.h"
#include "engine/formats/sealed_json.h"

namespace nepenthe {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

std::vector<std::int32_t> checked_ids(const Json& object, int samples) {
  const std::vector<std::int64_t> ids = whole_numbers(object, "ids", 0, samples - 1);
  if (std::ranges::adjacent_find(ids, std::ranges::greater_equal()) != ids.end()) {
    throw Error("\"ids\" does not ascend");
  }
  return {ids.begin(), ids.end()};
}

/// A text of an earlier version's line; empty where there is none.
std::string text_or_none(const Json& line, const char* name) {
  return line.is_object() && line.contains(name) && line.at(name).is_string() ? text(line, name) : "";
}

/// Of format 1: the last of its manifest's digests of what is forgotten, with the line it stands in.
std::optional<Json> last_digest_of(const std::vector<Json>& manifest) {
  for (auto line = manifest.rbegin(); line != manifest.rend(); ++line) {
    if (line->is_object() && (line->contains("forgotten_digest") || line->contains("excluded_digest"))) return *line;
  }
  return std::nullopt;
}

History read_format_1(const fs::path& folder, int samples, const JournalLines& lines) {
  History history;
  history.adopted = false;
  const fs::path path = folder / forgotten_file;
  const std::vector<std::byte> bytes = read_file(path);
  try {
    const Json json = parse_object(as_text(bytes));
    history.forgotten = checked_ids(json, samples);
    if (text(json, "digest") != ids_digest(history.forgotten)) throw Error("the ids do not fit their digest");
  } catch (const Error& error) {
    throw Error(fmt::format("{}: damaged: {}", path.string(), error.what()));
  }
  history.completed = !lines.earlier.empty() && text_or_none(lines.earlier.back(), "event") == "completed";
  if (const auto last = last_digest_of(lines.earlier)) {
    const std::string forgotten = text_or_none(*last, "forgotten_digest");
    const std::string wanted = forgotten.empty() ? text_or_none(*last, "excluded_digest") : forgotten;
    if (wanted != ids_digest(history.forgotten)) {
      history.lost = LostRequest{.request = last->value("request", Json()).dump(), .forgotten_digest = wanted};
    }
  }
  return history;
}

std::vector<std::pair<int, int>> stages_in(const Json& entry, const TrainingConfig& config) {
  std::vector<std::pair<int, int>> stages;
  for (const Json& stage : member(entry, "stages")) {
    const std::vector<std::int64_t> numbers = whole_numbers(
        Json{{"stages", stage}}, "stages", 0, std::max<std::int64_t>(config.shards, std::ssize(config.epochs)));
    if (numbers.size() != 2) throw Error("\"stages\" holds something else than pairs of a shard and a stage");
    stages.emplace_back(static_cast<int>(numbers[0]), static_cast<int>(numbers[1]));
  }
  return stages;
}

void add(const Json& entry, const RunFacts& facts, History& history) {
  const std::string event = text(entry, "event");
  history.completed = event == "completed";
  if (entry.contains("ids")) {
    const std::vector<std::int32_t> ids = checked_ids(entry, facts.config.samples);
    std::vector<std::int32_t> all;
    std::ranges::set_union(history.forgotten, ids, std::back_inserter(all));
    history.forgotten = std::move(all);
  }
  if (entry.contains("request") && history.class_names_digest.empty()) {
    history.class_names_digest = text_or_none(entry.at("request"), "class_names_digest");
  }
  const std::string revision = cpu_revision_in(entry);
  if (event == "training") {
    for (const auto& stage : stages_in(entry, facts.config)) history.revisions[stage] = revision;
  } else if (!revision.empty()) {
    history.earlier_revisions.insert(revision);
  }
  if (event == "recipe") {
    const Json& recipe = member(entry, "recipe");
    const StageRecipe stage_recipe{.recipe = recipe_of_json(recipe), .text = recipe.dump()};
    for (const auto& stage : stages_in(entry, facts.config)) {
      history.recipes.erase(stage);
      if (recipe != recipe_json(facts.config.recipe)) history.recipes.emplace(stage, stage_recipe);
    }
  }
}

}  // namespace

void write_run_file(const fs::path& folder, const RunFacts& facts, const Device& device) {
  Json json{{"format", facts.format},
            {"configuration", Json::parse(facts.identity)},
            {"permutation_digest", facts.permutation_digest},
            {"test_data_digest", facts.test_data_digest},
            {"data_folder", facts.data_folder.string()}};
  if (!facts.weights.empty()) json["weights"] = Json::parse(facts.weights);
  json.update(machine_json(device));
  seal(json);
  write_file_atomically(folder / run_file, json.dump(2) + "\n");
}

RunFacts read_run_file(const fs::path& folder) {
  const fs::path path = folder / run_file;
  if (!is_there(path)) throw UsageError(fmt::format("{}: no SISA run is there (no {})", folder.string(), run_file));
  const std::vector<std::byte> bytes = read_file(path);
  try {
    const Json json = parse_object(as_text(bytes));
    RunFacts facts;
    facts.format = static_cast<int>(whole_number(json, "format", 1, std::numeric_limits<int>::max()));
    if (facts.format > 2) throw Error("a newer version wrote it and can read it");
    if (facts.format == 2 && !is_sealed(json)) {
      throw Error("damaged: its contents do not fit their digest; a copy from before the damage would be right");
    }
    facts.identity = member(json, "configuration").dump();
    facts.config = config_from_json(json.at("configuration"));
    facts.permutation_digest = text(json, "permutation_digest");
    facts.test_data_digest = text(json, "test_data_digest");
    facts.data_folder = text(json, "data_folder");
    facts.device = text(json, "device");
    if (json.contains("weights")) facts.weights = json.at("weights").dump();
    if (facts.format == 1) facts.config.isa = isa_in(facts.device);
    return facts;
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", path.string(), error.what()));
  }
}

History read_history(const fs::path& folder, const RunFacts& facts, const JournalLines& lines) {
  if (facts.format == 1 && lines.entries.empty()) return read_format_1(folder, facts.config.samples, lines);
  try {
    const char* first = facts.format == 1 ? "adopted" : "created";
    if (lines.entries.empty() || text(lines.entries.front(), "event") != first ||
        (facts.format > 1 && !lines.earlier.empty())) {
      throw Error("damaged: its first line is not how the run began; a copy from before the damage would be right");
    }
    History history;
    for (const Json& entry : lines.entries) add(entry, facts, history);
    return history;
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", (folder / journal_file).string(), error.what()));
  }
}

}  // namespace nepenthe
