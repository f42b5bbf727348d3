#include "engine/recipe.h"

#include <fmt/format.h>

#include <cmath>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <numbers>
#include <string_view>

#include "engine/base/error.h"

namespace nepenthe {

double schedule_factor(Schedule schedule, int epoch, int epochs) {
  if (schedule == Schedule::constant) return 1.0;
  return (1.0 + std::cos(std::numbers::pi * epoch / epochs)) / 2.0;
}

void check(const Recipe& recipe) {
  const auto require = [](bool right, std::string_view setting, auto value, std::string_view rule) {
    if (!right) throw UsageError(fmt::format("{} {}: {}", setting, value, rule));
  };
  const auto positive = [](double value) { return std::isfinite(value) && value > 0; };
  require(recipe.epochs >= 1, "epochs", recipe.epochs, "at least 1");
  require(recipe.batch >= 1, "batch", recipe.batch, "at least 1");
  require(positive(recipe.lr), "lr", recipe.lr, "a finite number above 0");
  if (recipe.fc_lr) require(positive(*recipe.fc_lr), "fc_lr", *recipe.fc_lr, "a finite number above 0");
  require(recipe.momentum >= 0 && recipe.momentum < 1, "momentum", recipe.momentum, "in [0, 1)");
  require(recipe.dampening >= 0 && recipe.dampening <= 1, "dampening", recipe.dampening, "in [0, 1]");
  require(std::isfinite(recipe.weight_decay) && recipe.weight_decay >= 0, "weight_decay", recipe.weight_decay,
          "0 or a finite number above");
  require(recipe.optimizer != OptimizerKind::sgd || !recipe.nesterov || (recipe.momentum > 0 && recipe.dampening == 0),
          "nesterov", true, "needs a momentum above 0 and no dampening");
}

nlohmann::ordered_json to_json(const Recipe& recipe) {
  nlohmann::ordered_json json{{"epochs", recipe.epochs},
                              {"batch", recipe.batch},
                              {"optimizer", name(recipe.optimizer)},
                              {"lr", recipe.lr},
                              {"fc_lr", nullptr},
                              {"momentum", recipe.momentum},
                              {"nesterov", recipe.nesterov},
                              {"dampening", recipe.dampening},
                              {"weight_decay", recipe.weight_decay},
                              {"schedule", name(recipe.schedule)},
                              {"augment", recipe.augment}};
  if (recipe.fc_lr) json["fc_lr"] = *recipe.fc_lr;
  return json;
}

namespace {

/// The one of `all` that has the name under `key`.
template <class Kind>
Kind named(const nlohmann::ordered_json& json, const char* key, std::initializer_list<Kind> all) {
  const auto text = json.at(key).get<std::string>();
  for (const Kind kind : all) {
    if (name(kind) == text) return kind;
  }
  throw Error(fmt::format("a recipe is damaged: there is no {} \"{}\"", key, text));
}

}  // namespace

Recipe recipe_from_json(const nlohmann::ordered_json& json) {
  try {
    Recipe recipe;
    json.at("epochs").get_to(recipe.epochs);
    json.at("batch").get_to(recipe.batch);
    recipe.optimizer = named(json, "optimizer", {OptimizerKind::sgd, OptimizerKind::adam});
    json.at("lr").get_to(recipe.lr);
    if (!json.at("fc_lr").is_null()) recipe.fc_lr = json.at("fc_lr").get<double>();
    json.at("momentum").get_to(recipe.momentum);
    json.at("nesterov").get_to(recipe.nesterov);
    json.at("dampening").get_to(recipe.dampening);
    json.at("weight_decay").get_to(recipe.weight_decay);
    recipe.schedule = named(json, "schedule", {Schedule::constant, Schedule::cosine});
    json.at("augment").get_to(recipe.augment);
    return recipe;
  } catch (const nlohmann::json::exception& error) {
    throw Error(fmt::format("a recipe is damaged: {}", error.what()));
  }
}

std::string name(OptimizerKind kind) { return kind == OptimizerKind::sgd ? "sgd" : "adam"; }
std::string name(Schedule schedule) { return schedule == Schedule::constant ? "constant" : "cosine"; }

}  // namespace nepenthe
