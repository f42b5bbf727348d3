#include "engine/step_profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "engine/captured_steps.h"
#include "engine/prediction.h"
#include "engine/train_step.h"

namespace nepenthe {

kernels::RangeTimes profile_training_step(ModelState& model, const SampleSet& samples,
                                          const std::vector<std::int32_t>& ids, const Recipe& recipe) {
  Device& device = model.device();
  const int batches = static_cast<int>(ids.size()) / recipe.batch;
  const int needed = device.waits_for_results() ? 3 : 1;
  if (batches < needed) {
    throw std::invalid_argument(fmt::format("[step_profile] {} batches are needed, not {}", needed, batches));
  }
  Optimizer optimizer(model, recipe);
  const auto rates = optimizer.learning_rates(1);
  TrainStep step(model, optimizer, CrossEntropy(samples, ids, recipe.batch).phases(0)[0], std::nullopt);
  step.begin({.orders = {ids}, .offsets = {0}, .control = {.learning_rates = {rates[0], rates[1]}}});
  const std::vector<int> counts{recipe.batch};
  CapturedSteps captured(device);
  for (int i = 0; i + 1 < std::min(batches, 50); ++i) captured.run(counts, [&] { step.issue(counts); });
  std::visit([](auto& exec) { kernels::time_ranges(exec); }, device.exec());
  const Device::StepScope scope(device);
  step.issue(counts);
  return std::visit([](auto& exec) { return kernels::take_range_times(exec); }, device.exec());
}

kernels::RangeTimes profile_evaluation(ModelState& model, const SampleSet& samples,
                                       const std::vector<std::int32_t>& ids, int batch) {
  auto* const cpu = std::get_if<kernels::CpuExec>(&model.device().exec());
  if (cpu == nullptr) return {};
  Observer nobody;
  kernels::time_ranges(*cpu);
  predict(model, samples, ids, batch, "", nobody);
  return kernels::take_range_times(*cpu);
}

}  // namespace nepenthe
