#include "unlearning/provenance/run_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/formats/sealed_json.h"

namespace nepenthe {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

std::vector<std::int32_t> checked_ids(const Json& json, int samples) {
  auto ids = json.get<std::vector<std::int32_t>>();
  const bool ascending = std::ranges::adjacent_find(ids, std::ranges::greater_equal()) == ids.end();
  const bool in_range = ids.empty() || (ids.front() >= 0 && ids.back() < samples);
  if (!ascending || !in_range) throw Error("damaged: the ids are not those of samples, in order");
  return ids;
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
  const std::vector<std::byte> text = read_file(path);
  try {
    const Json json = Json::parse(as_text(text));
    history.forgotten = checked_ids(json.at("ids"), samples);
    if (json.at("digest") != ids_digest(history.forgotten)) throw Error("damaged: the ids do not fit their digest");
  } catch (const std::exception& error) {
    throw Error(fmt::format("{}: {}", path.string(), error.what()));
  }
  history.completed = !lines.earlier.empty() && lines.earlier.back().is_object() &&
                      lines.earlier.back().value("event", "") == "completed";
  if (const auto last = last_digest_of(lines.earlier)) {
    const std::string wanted = last->value("forgotten_digest", last->value("excluded_digest", ""));
    if (wanted != ids_digest(history.forgotten)) {
      history.lost = LostRequest{.request = last->value("request", Json()).dump(), .forgotten_digest = wanted};
    }
  }
  return history;
}

void add(const Json& entry, const RunFacts& facts, History& history) {
  const auto event = entry.at("event").get<std::string>();
  history.completed = event == "completed";
  if (entry.contains("ids")) {
    const std::vector<std::int32_t> ids = checked_ids(entry.at("ids"), facts.config.samples);
    std::vector<std::int32_t> all;
    std::ranges::set_union(history.forgotten, ids, std::back_inserter(all));
    history.forgotten = std::move(all);
  }
  if (event == "recipe") {
    const Json& recipe = entry.at("recipe");
    const StageRecipe stage_recipe{.recipe = recipe_of_json(recipe), .text = recipe.dump()};
    for (const auto& stage : entry.at("stages").get<std::vector<std::pair<int, int>>>()) {
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
  json.update(machine_json(device));
  seal(json);
  write_file_atomically(folder / run_file, json.dump(2) + "\n");
}

RunFacts read_run_file(const fs::path& folder) {
  const fs::path path = folder / run_file;
  if (!fs::exists(path)) throw UsageError(fmt::format("{}: no SISA run is there (no {})", folder.string(), run_file));
  const std::vector<std::byte> text = read_file(path);
  try {
    const Json json = Json::parse(as_text(text));
    RunFacts facts;
    json.at("format").get_to(facts.format);
    if (facts.format > 2) throw Error("a newer version wrote it and can read it");
    if (facts.format < 1 || (facts.format == 2 && !is_sealed(json))) {
      throw Error("damaged: its contents do not fit their digest; a copy from before the damage would be right");
    }
    facts.identity = json.at("configuration").dump();
    facts.config = config_from_json(json.at("configuration"));
    json.at("permutation_digest").get_to(facts.permutation_digest);
    json.at("test_data_digest").get_to(facts.test_data_digest);
    facts.data_folder = json.at("data_folder").get<std::string>();
    json.at("device").get_to(facts.device);
    if (facts.format == 1) facts.config.isa = isa_in(facts.device);
    return facts;
  } catch (const nlohmann::json::exception& error) {
    throw Error(fmt::format("{}: damaged: {}", path.string(), error.what()));
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", path.string(), error.what()));
  }
}

History read_history(const fs::path& folder, const RunFacts& facts, const JournalLines& lines) {
  if (facts.format == 1 && lines.entries.empty()) return read_format_1(folder, facts.config.samples, lines);
  try {
    const char* first = facts.format == 1 ? "adopted" : "created";
    if (lines.entries.empty() || lines.entries.front().at("event") != first ||
        (facts.format > 1 && !lines.earlier.empty())) {
      throw Error("damaged: its first line is not how the run began; a copy from before the damage would be right");
    }
    History history;
    for (const Json& entry : lines.entries) add(entry, facts, history);
    return history;
  } catch (const std::exception& error) {  // of JSON, or one of the above
    throw Error(fmt::format("{}: {}", (folder / journal_file).string(), error.what()));
  }
}

}  // namespace nepenthe
