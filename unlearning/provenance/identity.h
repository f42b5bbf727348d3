// What a training is: everything that decides the bits of what it makes.
//
// A run's identity is one JSON object, `configuration` in its run.json, and is taken verbatim: its compact text goes
// into the lineage of every checkpoint (STUDY §4). A field at its default is not written, so that a setting added
// later, whose default is the behaviour of before, changes no identity. A field that is not known is refused.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"
#include "engine/device.h"
#include "engine/recipe.h"

namespace nepenthe {

/// Whose mean and deviation pictures are normalised with.
enum class NormalizationKind { own, cifar100, cifar10, imagenet };  // own: the data's
inline constexpr std::array normalization_kinds{NormalizationKind::cifar100, NormalizationKind::cifar10,
                                                NormalizationKind::imagenet};
/// "cifar100" …; "" for the data's own.
std::string name(NormalizationKind kind);
/// The inverse. Throws UsageError for a name that there is not.
NormalizationKind normalization_kind(std::string_view name);

/// How a network takes pictures in and what of it is trained.
struct TransferSettings {
  int image_size = 32;  // side of its input; CIFAR's pictures are enlarged by whole numbers
  NormalizationKind normalization = NormalizationKind::own;
  bool freeze_backbone = false;  // the head alone is trained, on features in evaluation mode

  bool operator==(const TransferSettings&) const = default;
};
inline constexpr std::array<int, 5> image_sizes{32, 64, 96, 128, 224};

/// Throws UsageError for an image size that there is not, and for a frozen backbone with augmentation: its features are
/// computed once.
void check(const TransferSettings& transfer, const Recipe& recipe);

Preprocessing preprocessing(const TransferSettings& transfer, const Dataset& dataset);

struct TrainingConfig {
  std::string model;
  int classes = 0;
  int samples = 0;  // of the training data
  int shards = 4;
  std::vector<int> epochs{8, 7, 6, 5, 4};  // one number a slice
  Recipe recipe;                           // its epochs are those above
  TransferSettings transfer;
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

/// What is recorded beside an identity: device and kernels, which may decide bits in ways that cannot be chosen.
nlohmann::ordered_json machine_json(const Device& device);

/// The CPU kernels in such a record, which decide bits; empty on other devices and where it was not recorded.
std::string cpu_revision_in(const nlohmann::ordered_json& machine);

/// The instruction set that Device::description() names; empty where it names none.
std::optional<kernels::Isa> isa_in(const std::string& description);

/// SHA-256 of a data set's class names, fine and coarse.
std::string class_names_digest(const Dataset& dataset);

/// The message that a data set's class names are not those that `what` was made with.
std::string other_class_names(const Dataset& dataset, const std::string& what);

/// SHA-256 of ids.
std::string ids_digest(const std::vector<std::int32_t>& ids);

}  // namespace nepenthe
