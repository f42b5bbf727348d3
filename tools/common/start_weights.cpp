#include "tools/common/start_weights.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "models/weights.h"

namespace nepenthe {

void tell_of_new_head(Program& program, const std::filesystem::path& weights, const Architecture& architecture) {
  if (weights.empty()) return;
  const auto theirs = classes_of_replaced_head(weights, architecture);
  program.result()["new_head"] = theirs.has_value();
  if (!theirs) return;
  program.say(
      fmt::format("note: {} has a head of {} classes and the data {}: the network starts with a new, random head",
                  weights.string(), *theirs, architecture.classes()));
}

void refuse_new_head(const std::filesystem::path& weights, const Architecture& architecture) {
  if (const auto theirs = classes_of_replaced_head(weights, architecture)) {
    throw UsageError(
        fmt::format("--weights {}: has a head of {} classes, the data {}; a network trained on these "
                    "classes is needed (train_model --weights starts from others)",
                    weights.string(), *theirs, architecture.classes()));
  }
}

}  // namespace nepenthe
