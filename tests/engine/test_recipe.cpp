// Schedules against PyTorch's, and what a recipe may hold.
#include "engine/recipe.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "golden.h"
#include "shared_data.h"

namespace nepenthe::tests {
namespace {

TEST_CASE("schedule_factor: PyTorch's CosineAnnealingLR, stepped once an epoch") {
  double worst = 0;
  for (const nlohmann::json& entry : golden_json("schedules.json")) {
    const auto rates = entry.at("lr").get<std::vector<double>>();
    const double lr0 = entry.at("lr0");
    const int epochs = entry.at("epochs");
    REQUIRE(rates.size() == static_cast<std::size_t>(epochs));
    for (int epoch = 0; epoch < epochs; ++epoch) {
      const double expected = rates[static_cast<std::size_t>(epoch)];
      CAPTURE(epochs);
      CAPTURE(epoch);
      const double error = std::abs(lr0 * schedule_factor(Schedule::cosine, epoch, epochs) - expected) / lr0;
      CHECK(error <= 1e-14);
      worst = std::max(worst, error);
      CHECK(schedule_factor(Schedule::constant, epoch, epochs) == 1);
    }
  }
  MESSAGE("cosine: within ", worst, " of the initial rate");
}

TEST_CASE("recipe: what no optimisation can use is refused, by name") {
  check(Recipe{});
  constexpr double nan = std::numeric_limits<double>::quiet_NaN(), infinite = std::numeric_limits<double>::infinity();
  const auto refuse = [](const char* setting, const std::function<void(Recipe&)>& spoil) {
    Recipe recipe;
    spoil(recipe);
    CAPTURE(setting);
    NEPENTHE_CHECK_MESSAGE(UsageError, check(recipe), setting);
  };
  refuse("epochs 0", [](Recipe& r) { r.epochs = 0; });
  refuse("batch -1", [](Recipe& r) { r.batch = -1; });
  for (const double bad : {0.0, -0.1, nan, infinite}) {
    refuse("lr", [&](Recipe& r) { r.lr = bad; });
    refuse("fc_lr", [&](Recipe& r) { r.fc_lr = bad; });
  }
  for (const double bad : {-0.1, 1.0, nan}) refuse("momentum", [&](Recipe& r) { r.momentum = bad; });
  for (const double bad : {-0.1, 1.5, nan})
    refuse("dampening", [&](Recipe& r) { r.dampening = bad, r.nesterov = false; });
  for (const double bad : {-1e-9, nan, infinite}) refuse("weight_decay", [&](Recipe& r) { r.weight_decay = bad; });
  refuse("nesterov", [](Recipe& r) { r.momentum = 0; });
  refuse("nesterov", [](Recipe& r) { r.dampening = 0.1; });

  Recipe adam;
  adam.optimizer = OptimizerKind::adam;
  adam.momentum = 0;  // not Adam's business
  check(adam);
}

TEST_CASE("recipe: to JSON and back") {
  Recipe recipe{.epochs = 7,
                .batch = 33,
                .optimizer = OptimizerKind::adam,
                .lr = 1e-3,
                .fc_lr = 0.1,
                .momentum = 0.8,
                .nesterov = false,
                .dampening = 0.25,
                .weight_decay = 1.0 / 3,
                .schedule = Schedule::constant,
                .augment = false};
  for (const bool with_fc : {true, false}) {
    if (!with_fc) recipe.fc_lr.reset();
    const auto json = to_json(recipe);
    const Recipe back = recipe_from_json(nlohmann::ordered_json::parse(json.dump()));
    CHECK(back.epochs == 7);
    CHECK(back.batch == 33);
    CHECK(back.optimizer == OptimizerKind::adam);
    CHECK(back.lr == 1e-3);
    CHECK(back.fc_lr == recipe.fc_lr);
    CHECK(back.momentum == 0.8);
    CHECK_FALSE(back.nesterov);
    CHECK(back.dampening == 0.25);
    CHECK(back.weight_decay == 1.0 / 3);
    CHECK(back.schedule == Schedule::constant);
    CHECK_FALSE(back.augment);
  }
  const auto whole = to_json(Recipe{});
  for (const auto& [key, value] : whole.items()) {
    CAPTURE(key);
    auto missing = whole;
    missing.erase(key);
    CHECK_THROWS_AS(recipe_from_json(missing), Error);
    auto wrong = whole;
    wrong[key] = nlohmann::ordered_json::array();
    CHECK_THROWS_AS(recipe_from_json(wrong), Error);
  }
  for (const char* key : {"optimizer", "schedule"}) {
    auto unknown = whole;
    unknown[key] = "steepest";
    NEPENTHE_CHECK_MESSAGE(Error, recipe_from_json(unknown), "steepest");
  }
}

}  // namespace
}  // namespace nepenthe::tests
