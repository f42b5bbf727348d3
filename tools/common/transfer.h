// How pictures reach a network and what of it is trained, as command lines say it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "engine/architecture.h"
#include "tools/common/program.h"
#include "unlearning/provenance/identity.h"

namespace nepenthe {

struct TransferOptions {
  std::optional<int> image_size;
  std::optional<NormalizationKind> normalization;
  bool freeze_backbone = false;
};

/// --image-size, one of image_sizes.
void add_image_size_option(CLI::App& app, std::optional<int>& image_size, const std::string& otherwise);

/// --image-size --normalization.
void add_picture_options(CLI::App& app, TransferOptions& options);

/// Those, --freeze and --fc-lr, and the recipe's (add_recipe_options). --freeze turns augmentation off.
void add_training_options(CLI::App& app, TransferOptions& options, Recipe& recipe);

/// What the options say; else how the training took pictures in that made `weights` (describe_weights(); null where
/// there are none), as far as it is known; else what the architecture was made for: 224 px goes with ImageNet's
/// normalisation, and the data's own with others. Throws UsageError for a frozen backbone without weights.
TransferSettings transfer_settings(const TransferOptions& options, const nlohmann::ordered_json& weights,
                                   const Architecture& architecture);

/// From other weights Adam's learning rates are, where they are not given, 0.0001 and 0.001 for the head (STUDY §3).
void use_transfer_rates(const CLI::App& app, Recipe& recipe);

/// {"image_size", "normalization", "freeze"}; the data's own normalisation is null.
nlohmann::ordered_json to_json(const TransferSettings& transfer);

}  // namespace nepenthe
