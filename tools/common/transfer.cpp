#include "tools/common/transfer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "tools/common/options.h"
#include "unlearning/provenance/origin.h"

namespace nepenthe {
namespace {

constexpr int imagenet_image_size = 224;

}  // namespace

void add_image_size_option(CLI::App& app, std::optional<int>& image_size, const std::string& otherwise) {
  std::vector<std::string> sizes;
  sizes.reserve(image_sizes.size());
  for (const int size : image_sizes) sizes.push_back(std::to_string(size));
  const auto take = [&image_size](const std::string& text) { image_size = whole_number("--image-size", text, 1); };
  app.add_option_function<std::string>(
         "--image-size", take,
         fmt::format("Side that pictures are enlarged to: {}; by default {}", fmt::join(sizes, ", "), otherwise))
      ->check(one_of(sizes))
      ->type_name("N");
}

void add_picture_options(CLI::App& app, TransferOptions& options) {
  add_image_size_option(app, options.image_size, "as the weights were trained, else the model's own");
  std::vector<std::string> names;
  names.reserve(normalization_kinds.size());
  for (const NormalizationKind kind : normalization_kinds) names.push_back(name(kind));
  app.add_option_function<std::string>(
         "--normalization", [&options](const std::string& text) { options.normalization = normalization_kind(text); },
         fmt::format("Of pictures: {}; by default as the weights were trained, else the model's and the data's",
                     fmt::join(names, ", ")))
      ->check(one_of(names))
      ->type_name("NAME");
}

void add_training_options(CLI::App& app, TransferOptions& options, Recipe& recipe) {
  add_picture_options(app, options);
  // Options take effect in the order they are added: --augment, where given, after this one.
  app.add_option_function<std::string>(
         "--freeze",
         [&](const std::string&) {
           options.freeze_backbone = true;
           recipe.augment = false;
         },
         "backbone: train the head alone, on features computed once, without augmentation")
      ->check(one_of({"backbone"}))
      ->type_name("PART");
  add_recipe_options(app, recipe);
  const auto take_fc_lr = [&recipe](const std::string& text) { recipe.fc_lr = number("--fc-lr", text); };
  app.add_option_function<std::string>("--fc-lr", take_fc_lr, "Learning rate of the last layer, where it differs")
      ->type_name("X");
}

TransferSettings transfer_settings(const TransferOptions& options, const nlohmann::ordered_json& weights,
                                   const Architecture& architecture) {
  if (options.freeze_backbone && weights.is_null()) {
    throw UsageError("--freeze backbone: the features of a random network tell nothing; --weights is needed");
  }
  TransferSettings settings;
  if (const auto recorded = recorded_transfer(weights)) {
    settings = *recorded;
  } else {
    settings.image_size = architecture.image_size();
    if (settings.image_size == imagenet_image_size) settings.normalization = NormalizationKind::imagenet;
  }
  if (options.image_size) settings.image_size = *options.image_size;
  if (options.normalization) settings.normalization = *options.normalization;
  settings.freeze_backbone = options.freeze_backbone;
  return settings;
}

void use_transfer_rates(const CLI::App& app, Recipe& recipe) {
  if (recipe.optimizer != OptimizerKind::adam || app.count("--lr") > 0) return;
  recipe.lr = 1e-4;
  if (!recipe.fc_lr) recipe.fc_lr = 1e-3;
}

nlohmann::ordered_json to_json(const TransferSettings& transfer) {
  nlohmann::ordered_json json{{"image_size", transfer.image_size}, {"normalization", nullptr}, {"freeze", nullptr}};
  if (const std::string kind = name(transfer.normalization); !kind.empty()) json["normalization"] = kind;
  if (transfer.freeze_backbone) json["freeze"] = "backbone";
  return json;
}

}  // namespace nepenthe
