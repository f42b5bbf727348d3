#include "unlearning/provenance/identity.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/conv_algorithms_file.h"
#include "engine/formats/json_fields.h"
#include "kernels/optimizers.h"
#include "kernels/revision.h"
#include "kernels/shapes.h"

namespace nepenthe {
namespace {

using Json = nlohmann::ordered_json;

/// What a field says that is not there. Part of the format: fields may join, none may change.
const Json& defaults() {
  static const Json json = Json::parse(R"({
    "recipe": {}, "image_size": 32, "normalization": "", "freeze": "", "seed": 1, "precision": "fp32", "instruction_set": "", "class_names_digest": "",
    "left_out_digest": "", "weights_digest": "", "conv_algorithms_digest": "", "constants": {}
  })");
  return json;
}
const Json& recipe_defaults() {
  static const Json json = Json::parse(R"({
    "batch": 128, "optimizer": "sgd", "lr": 0.1, "fc_lr": null, "momentum": 0.9, "nesterov": true, "dampening": 0.0,
    "weight_decay": 0.0005, "schedule": "cosine", "augment": true
  })");
  return json;
}
constexpr std::string_view required[] = {"model", "classes", "samples", "shards", "epochs", "data_digest"};

void remove_defaults(Json& json, const Json& standard) {
  for (const auto& [key, value] : standard.items()) {
    if (json.contains(key) && json.at(key) == value) json.erase(key);
  }
}

/// The code's own constants where they are no longer those that the format began with.
Json changed_constants() {
  Json json = Json::object();
  const auto add = [&json](const char* name, float now, float then) {
    if (now != then) json[name] = now;
  };
  const kernels::AdamSettings adam{};
  add("adam_beta1", adam.beta1, 0.9F);
  add("adam_beta2", adam.beta2, 0.999F);
  add("adam_eps", adam.eps, 1e-8F);
  const kernels::BatchNormShape batch_norm{};
  add("batch_norm_eps", batch_norm.eps, 1e-5F);
  add("batch_norm_momentum", batch_norm.momentum, 0.1F);
  const auto add_normalization = [&json](const char* name, const Normalization& now, const Normalization& then) {
    if (now != then) json[name] = {now.mean, now.std};
  };
  add_normalization("cifar100_normalization", cifar100_normalization,
                    {.mean = {0.5070F, 0.4865F, 0.4409F}, .std = {0.2673F, 0.2564F, 0.2761F}});
  add_normalization("cifar10_normalization", cifar10_normalization,
                    {.mean = {0.4914F, 0.4822F, 0.4465F}, .std = {0.2470F, 0.2435F, 0.2616F}});
  add_normalization("imagenet_normalization", imagenet_normalization,
                    {.mean = {0.485F, 0.456F, 0.406F}, .std = {0.229F, 0.224F, 0.225F}});
  return json;
}

/// `standard` with what `json` says otherwise.
Json with_defaults(const Json& json, const Json& standard, std::span<const std::string_view> others) {
  if (!json.is_object()) throw Error(fmt::format("the configuration has a JSON {} for an object", json.type_name()));
  Json all = standard;
  for (const auto& [key, value] : json.items()) {
    if (!standard.contains(key) && std::ranges::find(others, key) == others.end()) {
      throw Error(
          fmt::format("the configuration has a field \"{}\" that this version does not know: a newer one wrote "
                      "it and can read it",
                      key));
    }
    all[key] = value;
  }
  return all;
}

constexpr std::string_view frozen_backbone = "backbone";

}  // namespace

void check(const TransferSettings& transfer, const Recipe& recipe) {
  if (std::ranges::find(image_sizes, transfer.image_size) == image_sizes.end()) {
    throw UsageError(
        fmt::format("image size {}: {} would be right", transfer.image_size, fmt::join(image_sizes, ", ")));
  }
  if (transfer.freeze_backbone && recipe.augment) {
    throw UsageError("a frozen backbone's features are computed once, so there is no augmentation of its pictures");
  }
}

std::string name(NormalizationKind kind) {
  switch (kind) {
    case NormalizationKind::own: return "";
    case NormalizationKind::cifar100: return "cifar100";
    case NormalizationKind::cifar10: return "cifar10";
    case NormalizationKind::imagenet: return "imagenet";
  }
  return "";
}

NormalizationKind normalization_kind(std::string_view wanted) {
  if (wanted.empty()) return NormalizationKind::own;
  std::vector<std::string> names;
  for (const NormalizationKind kind : normalization_kinds) {
    if (name(kind) == wanted) return kind;
    names.push_back(name(kind));
  }
  throw UsageError(fmt::format("normalization \"{}\": {} would be right", printable(wanted), fmt::join(names, ", ")));
}

Preprocessing preprocessing(const TransferSettings& transfer, const Dataset& dataset) {
  const auto constants = [&]() -> const Normalization& {
    switch (transfer.normalization) {
      case NormalizationKind::cifar100: return cifar100_normalization;
      case NormalizationKind::cifar10: return cifar10_normalization;
      case NormalizationKind::imagenet: return imagenet_normalization;
      case NormalizationKind::own: break;
    }
    return dataset.normalization;
  };
  return {.normalization = constants(), .image_size = transfer.image_size};
}

void complete_config(TrainingConfig& config, const Dataset& dataset, const std::filesystem::path& weights,
                     const Device& device) {
  config.classes = dataset.classes;
  config.samples = dataset.train.count();
  config.data_digest = dataset.train.digest;
  config.class_names_digest = class_names_digest(dataset);
  // Equal trainings have equal identities.
  if (preprocessing(config.transfer, dataset).normalization == dataset.normalization) {
    config.transfer.normalization = NormalizationKind::own;
  }
  config.precision = name(device.precision());
  config.isa = device.isa();
  config.weights_digest = weights.empty() ? "" : sha256_file(weights);
  config.conv_algorithms_digest = digest(device.given_conv_algorithms());
}

Json to_json(const TrainingConfig& config) {
  Json json{{"model", config.model},
            {"classes", config.classes},
            {"samples", config.samples},
            {"shards", config.shards},
            {"epochs", config.epochs},
            {"recipe", recipe_json(config.recipe)},
            {"image_size", config.transfer.image_size},
            {"normalization", name(config.transfer.normalization)},
            {"freeze", config.transfer.freeze_backbone ? frozen_backbone : ""},
            {"seed", config.seed},
            {"precision", config.precision},
            {"instruction_set", config.isa ? name(*config.isa) : ""},
            {"data_digest", config.data_digest},
            {"class_names_digest", config.class_names_digest},
            {"left_out_digest", config.left_out_digest},
            {"weights_digest", config.weights_digest},
            {"conv_algorithms_digest", config.conv_algorithms_digest},
            {"constants", changed_constants()}};
  remove_defaults(json, defaults());
  return json;
}

namespace {

TransferSettings transfer_from_json(const Json& json, const Recipe& recipe) {
  try {
    TransferSettings transfer;
    transfer.image_size = static_cast<int>(whole_number(json, "image_size", 1, std::numeric_limits<int>::max()));
    transfer.normalization = normalization_kind(text(json, "normalization"));
    const std::string frozen = text(json, "freeze");
    transfer.freeze_backbone = frozen == frozen_backbone;
    if (!frozen.empty() && !transfer.freeze_backbone) {
      throw Error(fmt::format("there is no part \"{}\" to freeze", printable(frozen)));
    }
    check(transfer, recipe);
    return transfer;
  } catch (const UsageError& error) {  // what would be a wrong argument elsewhere is damage here
    throw Error(fmt::format("the configuration is damaged: {}", error.what()));
  }
}

}  // namespace

TrainingConfig config_from_json(const Json& given) {
  const Json json = with_defaults(given, defaults(), required);
  if (json.at("constants") != changed_constants()) {
    throw Error(fmt::format("the configuration has constants {}, this version computes with {}: another one wrote it",
                            json.at("constants").dump(), changed_constants().dump()));
  }
  constexpr int most = std::numeric_limits<int>::max();
  TrainingConfig config;
  config.model = text(json, "model");
  config.classes = static_cast<int>(whole_number(json, "classes", 1, most));
  config.samples = static_cast<int>(whole_number(json, "samples", 1, most));
  config.shards = static_cast<int>(whole_number(json, "shards", 1, most));
  config.epochs.clear();
  for (const std::int64_t epochs : whole_numbers(json, "epochs", 1, most)) {
    config.epochs.push_back(static_cast<int>(epochs));
  }
  config.recipe = recipe_of_json(json.at("recipe"));
  config.transfer = transfer_from_json(json, config.recipe);
  config.seed = seed_number(json, "seed");
  config.precision = text(json, "precision");
  config.isa = kernels::isa_named(text(json, "instruction_set"));
  config.data_digest = text(json, "data_digest");
  config.class_names_digest = text(json, "class_names_digest");
  config.left_out_digest = text(json, "left_out_digest");
  config.weights_digest = text(json, "weights_digest");
  config.conv_algorithms_digest = text(json, "conv_algorithms_digest");
  return config;
}

Json recipe_json(const Recipe& recipe) {
  Json json = to_json(recipe);
  json.erase("epochs");
  remove_defaults(json, recipe_defaults());
  return json;
}

Recipe recipe_of_json(const Json& json) {
  Json all = with_defaults(json, recipe_defaults(), {});
  all["epochs"] = 1;
  return recipe_from_json(all);
}

Json machine_json(const Device& device) {
  // cuDNN's version stands in the description.
  return {{"device", device.description()}, {"kernels", device.isa() ? kernels::cpu_revision : ""}};
}

std::string cpu_revision_in(const Json& entry) {
  if (entry.contains("kernels")) return text(entry, "kernels");
  const auto device = entry.find("device"), libraries = entry.find("libraries");
  if (device == entry.end() || libraries == entry.end() || !device->is_string() || !libraries->is_object()) return "";
  if (!text(entry, "device").starts_with("CPU") || !libraries->contains("oneDNN")) return "";
  return fmt::format("oneDNN {}", text(*libraries, "oneDNN"));  // whose convolutions were used before
}

std::optional<kernels::Isa> isa_in(const std::string& description) {
  for (const kernels::Isa isa : {kernels::Isa::v2, kernels::Isa::v3, kernels::Isa::v4}) {
    if (description.ends_with(fmt::format(", {})", name(isa)))) return isa;
  }
  return std::nullopt;
}

std::string class_names_digest(const Dataset& dataset) {
  const Json names = Json::array({dataset.class_names, dataset.coarse_class_names});
  return sha256_hex(names.dump(-1, ' ', false, Json::error_handler_t::replace));
}

std::string other_class_names(const Dataset& dataset, const std::string& what) {
  const bool coarse = !dataset.coarse_class_names.empty();
  return fmt::format(
      "{}: the class names ({}) are not those that {} was made with, and a class could mean another one; those would "
      "be "
      "right, in the files or without them as it was then",
      dataset.folder.string(), coarse ? "fine_label_names.txt, coarse_label_names.txt" : "batches.meta.txt", what);
}

std::string ids_digest(const std::vector<std::int32_t>& ids) { return sha256_hex(std::as_bytes(std::span(ids))); }

}  // namespace nepenthe
