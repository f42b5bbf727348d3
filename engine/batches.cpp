#include "engine/batches.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace nepenthe {

std::vector<int> batch_sizes(int samples, int batch) {
  std::vector<int> sizes;
  for (int begin = 0; begin < samples; begin += batch) sizes.push_back(std::min(batch, samples - begin));
  if (sizes.size() > 1 && sizes.back() == 1) {
    sizes.pop_back();
    ++sizes.back();
  }
  return sizes;
}

std::int64_t PhaseSteps::samples() const {
  std::int64_t sum = 0;
  for (const std::vector<int>& step : counts) {
    for (const int count : step) sum += count;
  }
  return sum;
}

std::size_t PhaseSteps::offset(int draw, int step) const {
  std::size_t sum = 0;
  for (int before = 0; before < step; ++before) sum += static_cast<std::size_t>(counts[before][draw]);
  return sum;
}

PhaseSteps phase_steps(const Phase& phase) {
  if (phase.draws.empty()) throw std::invalid_argument(fmt::format("[batches] phase {} draws nothing", phase.name));
  PhaseSteps steps;
  for (std::size_t draw = 0; draw < phase.draws.size(); ++draw) {
    const auto& [samples, ids, batch, losses] = phase.draws[draw];
    if (ids.empty() || batch < 1) {
      throw std::invalid_argument(
          fmt::format("[batches] phase {}, draw {}: {} samples in batches of {}", phase.name, draw, ids.size(), batch));
    }
    const std::vector<int> sizes = batch_sizes(static_cast<int>(ids.size()), batch);
    if (draw == 0) steps.counts.resize(sizes.size());
    for (std::size_t step = 0; step < steps.counts.size(); ++step) {
      steps.counts[step].push_back(sizes[step % sizes.size()]);
    }
  }
  return steps;
}

std::vector<std::int32_t> draw_order(const Phase& phase, int draw, const PhaseSteps& steps, RandomStream stream) {
  stream.purpose = purpose::order;
  const std::vector<std::int32_t> once = keyed_order(stream, phase.draws[static_cast<std::size_t>(draw)].ids);
  std::vector<std::int32_t> order;
  const std::size_t needed = steps.offset(draw, steps.steps());
  order.reserve(needed);
  // Batches never reach over the end of the samples, so the turns lie end to end.
  while (order.size() < needed) {
    const auto count = static_cast<std::ptrdiff_t>(std::min(once.size(), needed - order.size()));
    order.insert(order.end(), once.begin(), once.begin() + count);
  }
  return order;
}

}  // namespace nepenthe
