// What a training is: everything that decides the bits of what it makes.
//
// A run's identity is one JSON object, `configuration` in its run.json, and is taken verbatim: its compact text goes
// into the lineage of every checkpoint (STUDY §4). A field at its default is not written, so that a setting added
// later, whose default is the behaviour of before, changes no identity. A field that is not known is refused.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "engine/device.h"
#include "engine/recipe.h"

namespace nepenthe {

struct TrainingConfig {
  std::string model;
  int classes = 0;
  int samples = 0;  // of the training data
  int shards = 4;
  std::vector<int> epochs{8, 7, 6, 5, 4};  // one number a slice
  Recipe recipe;                           // its epochs are those above
  std::uint64_t seed = 1;
  std::string precision = "fp32";
  std::optional<kernels::Isa> isa;  // the CPU's instruction set; empty on others and where it was not recorded
  std::string data_digest;          // of the training data
  std::string class_names_digest;   // of the names that specifications go by; empty: not recorded
  std::string left_out_digest;      // of the ids left out, for one network outside SISA
  std::string weights_digest;       // SHA-256 of the file the networks started from; empty: freshly initialised
  /// Of cuDNN's engines given by a record; empty: cuDNN's first suggestions.
  std::string conv_algorithms_digest;
};

/// Fills in what the data, the weights to start from (an empty path: none) and the device decide.
void complete_config(TrainingConfig& config, const Dataset& dataset, const std::filesystem::path& weights,
                     const Device& device);

/// The identity. Equal configurations give equal text.
nlohmann::ordered_json to_json(const TrainingConfig& config);

/// The inverse, also for identities of earlier versions, which write out every field. Throws Error for a field that is
/// not known or a constant that this program computes with another value of: a newer version wrote it.
TrainingConfig config_from_json(const nlohmann::ordered_json& json);

/// A recipe without its epochs, as an identity holds it, and back.
nlohmann::ordered_json recipe_json(const Recipe& recipe);
Recipe recipe_of_json(const nlohmann::ordered_json& json);

/// What is recorded beside an identity: device and libraries, which may decide bits in ways that cannot be chosen.
nlohmann::ordered_json machine_json(const Device& device);

/// The oneDNN in such a record, which decides bits on a CPU; empty on other devices and where it was not recorded.
std::string onednn_in(const nlohmann::ordered_json& machine);

/// The instruction set that Device::description() names; empty where it names none.
std::optional<kernels::Isa> isa_in(const std::string& description);

/// SHA-256 of a data set's class names, fine and coarse.
std::string class_names_digest(const Dataset& dataset);

/// The message that a data set's class names are not those that `what` was made with.
std::string other_class_names(const Dataset& dataset, const std::string& what);

/// SHA-256 of ids.
std::string ids_digest(const std::vector<std::int32_t>& ids);

}  // namespace nepenthe
