#include "engine/optimizer.h"

#include <fmt/format.h>

#include <array>

#include "engine/base/error.h"
#include "engine/profile.h"

namespace nepenthe {
namespace {

std::string moment_name(std::size_t index) { return fmt::format("optimizer.moment{}", index); }
constexpr const char* steps_name = "optimizer.steps";

}  // namespace

static_assert(parameter_groups.size() == kernels::StepControl::parameter_groups);

Optimizer::Optimizer(Parameters& parameters, const Recipe& recipe, const std::uint8_t* mask)
    : parameters_(parameters), mask_(mask) {
  const std::size_t floats = parameters.layout().parameter_floats();
  const std::size_t moments = recipe.optimizer == OptimizerKind::adam ? 2 : 1;
  for (std::size_t i = 0; i < moments; ++i) moments_.emplace_back(parameters.device(), floats);
  restart(recipe);
}

void Optimizer::restart(const Recipe& recipe) {
  recipe_ = recipe;
  const std::vector<float> zeros(parameters_.layout().parameter_floats());
  for (const DeviceArray<float>& moment : moments_) {
    parameters_.device().upload(moment.data(), zeros.data(), zeros.size());
  }
}

Optimizer::LearningRates Optimizer::learning_rates(double factor) const {
  return {static_cast<float>(recipe_.lr * factor), static_cast<float>(recipe_.fc_lr.value_or(recipe_.lr) * factor)};
}

void Optimizer::step(const kernels::StepControl* control) {
  std::array<kernels::Segment, parameter_groups.size()> segments{};
  for (const ParameterGroup group : parameter_groups) {
    const auto [begin, end] = parameters_.layout().range(group);
    segments[static_cast<std::size_t>(group)] = {.begin = begin, .end = end};
  }
  const ProfiledRange range(parameters_.device(), "optimizer_step");
  std::visit(
      [&](auto& exec) {
        if (recipe_.optimizer == OptimizerKind::sgd) {
          kernels::sgd_step(exec, {.segments = segments,
                                   .w = parameters_.values(),
                                   .rounded = parameters_.rounded_values(),
                                   .v = moments_[0].data(),
                                   .grad = parameters_.written_gradients(),
                                   .mask = mask_,
                                   .control = control,
                                   .settings = {.momentum = static_cast<float>(recipe_.momentum),
                                                .dampening = static_cast<float>(recipe_.dampening),
                                                .weight_decay = static_cast<float>(recipe_.weight_decay),
                                                .nesterov = recipe_.nesterov}});
        } else {
          kernels::adam_step(exec, {.segments = segments,
                                    .w = parameters_.values(),
                                    .rounded = parameters_.rounded_values(),
                                    .m = moments_[0].data(),
                                    .v = moments_[1].data(),
                                    .grad = parameters_.written_gradients(),
                                    .mask = mask_,
                                    .control = control,
                                    .settings = {.weight_decay = static_cast<float>(recipe_.weight_decay)}});
        }
      },
      parameters_.device().exec());
}

void Optimizer::save(StateDict& state, std::int64_t steps) const {
  for (std::size_t i = 0; i < moments_.size(); ++i) {
    const auto values = parameters_.device().download(moments_[i].data(), moments_[i].size());
    state.add(moment_name(i), HostTensor::from({static_cast<std::int64_t>(values.size())}, values));
  }
  state.add(steps_name, HostTensor::from({}, std::span(&steps, 1)));
}

std::int64_t Optimizer::load(const StateDict& state) {
  std::vector<std::vector<float>> moments;
  for (std::size_t i = 0; i < moments_.size(); ++i) {
    const HostTensor* tensor = state.find(moment_name(i));
    if (tensor == nullptr || tensor->count() != static_cast<std::int64_t>(moments_[i].size())) {
      throw Error("the training state does not belong to this model and optimiser");
    }
    moments.push_back(tensor->to_f32());
  }
  const HostTensor* steps = state.find(steps_name);
  if (steps == nullptr || steps->count() != 1)
    throw Error("the training state does not say how many steps it has made");
  for (std::size_t i = 0; i < moments_.size(); ++i) {
    parameters_.device().upload(moments_[i].data(), moments[i].data(), moments[i].size());
  }
  return steps->i64()[0];
}

}  // namespace nepenthe
