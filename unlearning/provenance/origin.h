// Where weights came from. A checkpoint of one network carries its origin in its metadata, and the journal beside it
// has the same for formats without metadata:
//   {"configuration": the identity, "left_out": {"specification", "samples", "ids_digest"}, "weights": {…}}
// left_out where samples were left out; weights where training started from some: {"file": its name, "sha256",
// "origin": theirs in turn, where they have one}. A SISA run that started from weights has the same in run.json.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "data/dataset.h"
#include "unlearning/provenance/identity.h"

namespace nepenthe {

/// The metadata's name for it.
inline constexpr const char* origin_key = "origin";

/// {"file", "sha256", "origin"} of a file of weights; the last only where the file, or the journal beside it, says.
/// Throws Error naming the file where it is missing or its origin damaged.
nlohmann::ordered_json describe_weights(const std::filesystem::path& file);

/// The same in words: "base.safetensors (SHA-256 0123456789ab…, made without class:3 from …)".
std::string weights_in_words(const nlohmann::ordered_json& weights);

/// The journal of the training that made `file`.
std::filesystem::path journal_of(const std::filesystem::path& file);

/// How the training that made weights so described took pictures in; empty where it is not known.
std::optional<TransferSettings> recorded_transfer(const nlohmann::ordered_json& weights);

/// Throws UsageError where weights so described were made with the same data under other class names: a class would
/// mean another one.
void require_class_names(const nlohmann::ordered_json& weights, const Dataset& dataset);

}  // namespace nepenthe
