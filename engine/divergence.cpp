#include "engine/divergence.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/base/error.h"

namespace nepenthe {

void throw_diverged(const TrainingJob& job, const std::string& how) {
  if (!job.state_file.empty()) std::filesystem::remove(job.state_file);
  throw Diverged(fmt::format("{}: {}; a smaller learning rate or other data would be right", job.what, how));
}

void require_finite(const TrainingJob& job, const ModelState& model) {
  const auto all_finite = [](const std::vector<float>& values) {
    return std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
  };
  const ParameterLayout& layout = model.layout();
  if (!all_finite(model.device().download(model.values(), layout.parameter_floats())) ||
      !all_finite(model.device().download(model.statistics(), layout.statistic_floats()))) {
    throw_diverged(job, "the training left weights that are not finite");
  }
}

}  // namespace nepenthe
