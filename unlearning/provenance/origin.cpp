#include "unlearning/provenance/origin.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/formats/content_digest.h"
#include "engine/formats/json_fields.h"
#include "engine/formats/torch_checkpoint.h"
#include "unlearning/provenance/journal.h"

namespace nepenthe {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

/// What the journal beside weights says of them, where it proves to be about these.
Json origin_in_journal(const fs::path& file, const StateDict& state) {
  Json origin;
  const std::string contents = content_digest(state);
  for (const Json& entry : read_journal(journal_of(file)).entries) {
    if (text(entry, "event") == "created") origin = entry.contains(origin_key) ? entry.at(origin_key) : Json();
    if (entry.contains("checkpoint") && entry.at("checkpoint") == contents) return origin;
  }
  return nullptr;
}

/// A chain of origins, the beginning of one of more than about a hundred.
Json parse_origin(const std::string& text) {
  constexpr int deepest = 256;
  const auto within = [](int depth, Json::parse_event_t, const Json&) { return depth <= deepest; };
  Json origin = Json::parse(text, within, false);
  if (!origin.is_object()) throw Error("is no JSON object");
  return origin;
}

Json origin_of(const fs::path& file) {
  const StateDict state = read_weights(file);
  const auto found = state.metadata.find(origin_key);
  if (found == state.metadata.end()) return origin_in_journal(file, state);
  try {
    return parse_origin(found->second);
  } catch (const Error& error) {
    throw Error(fmt::format("{}: damaged: its \"{}\" {}", file.string(), origin_key, error.what()));
  }
}

const Json* inner(const Json& object, const char* name) {
  return object.is_object() && object.contains(name) && object.at(name).is_object() ? &object.at(name) : nullptr;
}

std::string inner_text(const Json& object, const char* name) {
  return object.contains(name) && object.at(name).is_string() ? printable(text(object, name)) : "";
}

}  // namespace

fs::path journal_of(const fs::path& file) { return file.string() + ".manifest.jsonl"; }

Json describe_weights(const fs::path& file) {
  Json json{{"file", file.filename().string()}, {"sha256", sha256_file(file)}};
  if (const Json origin = origin_of(file); origin.is_object()) json[origin_key] = origin;
  return json;
}

std::string weights_in_words(const Json& weights) {
  std::string words =
      fmt::format("{} (SHA-256 {}…", inner_text(weights, "file"), inner_text(weights, "sha256").substr(0, 12));
  if (const Json* origin = inner(weights, origin_key)) {
    if (const Json* left_out = inner(*origin, "left_out")) {
      words += fmt::format(", made without {}", inner_text(*left_out, "specification"));
    }
    if (const Json* base = inner(*origin, "weights")) words += fmt::format(", from {}", weights_in_words(*base));
  }
  return words + ")";
}

std::optional<TransferSettings> recorded_transfer(const Json& weights) {
  const Json* origin = inner(weights, origin_key);
  const Json* configuration = origin == nullptr ? nullptr : inner(*origin, "configuration");
  if (configuration == nullptr) return std::nullopt;
  try {
    return config_from_json(*configuration).transfer;
  } catch (const Error&) {  // of another version
    return std::nullopt;
  }
}

void require_class_names(const Json& weights, const Dataset& dataset) {
  const Json* origin = inner(weights, origin_key);
  const Json* configuration = origin == nullptr ? nullptr : inner(*origin, "configuration");
  if (configuration == nullptr || inner_text(*configuration, "data_digest") != dataset.train.digest) return;
  const std::string names = inner_text(*configuration, "class_names_digest");
  if (!names.empty() && names != class_names_digest(dataset)) {
    throw UsageError(other_class_names(dataset, inner_text(weights, "file")));
  }
}

}  // namespace nepenthe
