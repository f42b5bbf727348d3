// A training recipe: everything about an optimisation but the model and the data.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

namespace nepenthe {

enum class OptimizerKind { sgd, adam };
enum class Schedule { constant, cosine };

struct Recipe {
  int epochs = 1;
  int batch = 128;
  OptimizerKind optimizer = OptimizerKind::sgd;
  double lr = 0.1;
  std::optional<double> fc_lr;  // learning rate of the last layer, where it differs
  double momentum = 0.9;        // SGD alone, as are nesterov and dampening
  bool nesterov = true;
  double dampening = 0;
  double weight_decay = 5e-4;
  Schedule schedule = Schedule::cosine;
  bool augment = true;  // random crops and flips (kernels/gather.h)

  bool operator==(const Recipe&) const = default;
};

/// The factor on the learning rate in an epoch counted from 0: 1, or (1 + cos(π·epoch/epochs))/2 (Loshchilov & Hutter
/// 2017, without restarts; PyTorch's CosineAnnealingLR stepped once an epoch).
double schedule_factor(Schedule schedule, int epoch, int epochs);

/// Throws UsageError for values no optimisation can use: epochs or batch below 1, a learning rate that is not positive
/// and finite, Nesterov without momentum or with dampening …
void check(const Recipe& recipe);

/// All of it, for results and runs; and back. Throws Error where a key is missing or has another type.
nlohmann::ordered_json to_json(const Recipe& recipe);
Recipe recipe_from_json(const nlohmann::ordered_json& json);

std::string name(OptimizerKind kind);
std::string name(Schedule schedule);

}  // namespace nepenthe
