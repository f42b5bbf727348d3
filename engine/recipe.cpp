#include "engine/recipe.h"

#include <fmt/format.h>

#include <cmath>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <numbers>
#include <string_view>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/formats/json_fields.h"

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
  const std::string wanted = text(json, key);
  for (const Kind kind : all) {
    if (name(kind) == wanted) return kind;
  }
  throw Error(fmt::format("there is no {} \"{}\"", key, printable(wanted)));
}

}  // namespace

Recipe recipe_from_json(const nlohmann::ordered_json& json) {
  constexpr int most = std::numeric_limits<int>::max();
  try {
    Recipe recipe;
    recipe.epochs = static_cast<int>(whole_number(json, "epochs", 1, most));
    recipe.batch = static_cast<int>(whole_number(json, "batch", 1, most));
    recipe.optimizer = named(json, "optimizer", {OptimizerKind::sgd, OptimizerKind::adam});
    recipe.lr = number(json, "lr");
    if (!member(json, "fc_lr").is_null()) recipe.fc_lr = number(json, "fc_lr");
    recipe.momentum = number(json, "momentum");
    recipe.nesterov = truth(json, "nesterov");
    recipe.dampening = number(json, "dampening");
    recipe.weight_decay = number(json, "weight_decay");
    recipe.schedule = named(json, "schedule", {Schedule::constant, Schedule::cosine});
    recipe.augment = truth(json, "augment");
    return recipe;
  } catch (const Error& error) {
    throw Error(fmt::format("a recipe is damaged: {}", error.what()));
  }
}

std::string name(OptimizerKind kind) { return kind == OptimizerKind::sgd ? "sgd" : "adam"; }
std::string name(Schedule schedule) { return schedule == Schedule::constant ? "constant" : "cosine"; }

}  // namespace nepenthe
