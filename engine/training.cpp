#include "engine/training.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <stdexcept>
#include <utility>

#include "engine/base/error.h"
#include "engine/batches.h"
#include "engine/captured_steps.h"
#include "engine/divergence.h"
#include "engine/memory_need.h"
#include "engine/train_step.h"
#include "engine/training_state.h"

namespace nepenthe {
namespace {

RandomStream stream_for(const TrainingJob& job, std::uint32_t what, int epoch) {
  RandomStream stream = job.stream;
  stream.purpose = what;
  stream.epoch = static_cast<std::uint32_t>(epoch);
  return stream;
}

/// A phase of an epoch, ready for the device.
struct PhasePlan {
  Phase phase;
  PhaseSteps steps;
  std::vector<std::vector<std::int32_t>> orders;  // by draw
};

/// Whether steps by one recipe are steps by the other: what else a recipe says is in captured kernels.
bool same_steps(const Recipe& a, Recipe b) {
  b.epochs = a.epochs;
  b.lr = a.lr;
  b.fc_lr = a.fc_lr;
  b.schedule = a.schedule;
  return a == b;
}

}  // namespace

/// What jobs by such recipes and under one mask have on the device.
struct TrainingOnDevice {
  TrainingOnDevice(ModelState& model, const Recipe& its_recipe, const std::uint8_t* its_mask)
      : recipe(its_recipe), mask(its_mask), optimizer(model, recipe, mask) {}

  /// A kind of phase, as often as it comes.
  struct PhaseOnDevice {
    TrainStep step;
    CapturedSteps captured;
  };

  Recipe recipe;
  const std::uint8_t* mask;
  Optimizer optimizer;
  std::map<std::string, PhaseOnDevice> phases{};  // by name
};

namespace {

using PhaseOnDevice = TrainingOnDevice::PhaseOnDevice;

class Loop {
 public:
  Loop(ModelState& model, TrainingOnDevice& kept, Objective& objective, const TrainingJob& job, Observer& observer)
      : model_(model),
        optimizer_(kept.optimizer),
        phases_(kept.phases),
        objective_(objective),
        job_(job),
        observer_(observer),
        glances_(model.device(), observer) {}

  TrainingResult run();

 private:
  int epochs() const { return job_.recipe.epochs; }
  void look_ahead();
  std::vector<PhasePlan> plan_of(int epoch) const;
  PhaseOnDevice& on_device(const Phase& phase);
  void run_epoch(std::vector<PhasePlan>& plan, int first_step);
  void run_phase(PhasePlan& plan, int first_step, int steps_before);
  void issue(PhaseOnDevice& phase, const std::vector<int>& counts);
  void look(const TrainStep& step);
  void stop_if_asked(const TrainStep* step);
  void save();

  using Clock = std::chrono::steady_clock;
  ModelState& model_;
  Optimizer& optimizer_;
  std::map<std::string, PhaseOnDevice>& phases_;  // by name
  Objective& objective_;
  const TrainingJob& job_;
  Observer& observer_;
  Glances glances_;

  TrainingPosition at_;  // the next step
  int steps_of_epoch_ = 0;
  double rate_factor_ = 1;
  std::int64_t phase_steps_before_ = 0;  // at_.steps when the phase, or what is left of it, began
  int phase_first_ = 0;                  // and at_.step
  std::int64_t samples_before_ = 0;      // of the job, by then
  std::vector<PhasePlan> next_;          // of the next epoch, made while the device works
  Observer::Progress progress_{};
  Clock::time_point saved_ = Clock::now();  // or begun
  TrainingResult result_;
};

std::vector<PhasePlan> Loop::plan_of(int epoch) const {
  std::vector<PhasePlan> plan;
  for (Phase& phase : objective_.phases(epoch)) {
    PhaseSteps steps = phase_steps(phase);
    std::vector<std::vector<std::int32_t>> orders;
    for (std::size_t draw = 0; draw < phase.draws.size(); ++draw) {
      orders.push_back(draw_order(phase, static_cast<int>(draw), steps, stream_for(job_, purpose::order, epoch)));
    }
    plan.push_back({std::move(phase), std::move(steps), std::move(orders)});
  }
  return plan;
}

PhaseOnDevice& Loop::on_device(const Phase& phase) {
  auto known = phases_.find(phase.name);
  if (known == phases_.end()) {
    std::optional<kernels::Augmentation> augmentation;
    if (job_.recipe.augment) augmentation.emplace();
    TrainStep step(model_, optimizer_, phase, augmentation);
    known = phases_.emplace(phase.name, PhaseOnDevice{std::move(step), CapturedSteps(model_.device())}).first;
  }
  if (!known->second.step.serves(phase)) {
    throw std::logic_error(fmt::format("[training] phase {} is another one than before", phase.name));
  }
  return known->second;
}

/// Reports the phase's totals; throws where a loss was not finite.
void Loop::look(const TrainStep& step) {
  const std::vector<kernels::StepControl> totals = step.totals();
  std::int64_t seen = 0;
  for (const kernels::StepControl& draw : totals) {
    if (draw.diverged_at != 0) {
      throw_diverged(job_, fmt::format("the loss is {} in epoch {} of {}, step {} of {}, at learning rate {:.3g}",
                                       draw.diverged_loss, at_.epoch + 1, epochs(),
                                       phase_first_ + draw.diverged_at - phase_steps_before_, steps_of_epoch_,
                                       job_.recipe.lr * rate_factor_));
    }
    seen += draw.seen;
  }
  const kernels::StepControl& first = totals.front();
  progress_.epoch = at_.epoch;
  progress_.samples = samples_before_ + seen;
  progress_.loss = first.loss_sum / static_cast<double>(first.seen);
  progress_.accuracy = static_cast<double>(first.right) / static_cast<double>(first.seen);
  if (first.seen > 0) result_.loss = progress_.loss;
  observer_.progress(progress_);
}

void Loop::stop_if_asked(const TrainStep* step) {
  if (!observer_.stop_requested()) return;
  if (step != nullptr) look(*step);  // a loss that is not finite must not become a state
  save();
  throw Interrupted(fmt::format("interrupted in {}, epoch {} of {}, step {} of {}", job_.what, at_.epoch + 1, epochs(),
                                at_.step + 1, steps_of_epoch_));
}

void Loop::save() {
  if (job_.state_file.empty()) return;
  require_finite(job_, model_);  // what the last step left, of which no loss tells yet
  save_training_state(job_.state_file, job_.identity, model_, optimizer_, at_);
  saved_ = Clock::now();
}

void Loop::issue(PhaseOnDevice& phase, const std::vector<int>& counts) {
  TrainStep& step = phase.step;
  try {
    if (phase.captured.run(counts, [&step, counts] { step.issue(counts); })) ++result_.captures;
  } catch (const std::bad_alloc&) {
    throw Error(describe_memory_need(model_.device(), "training " + model_.architecture().name(),
                                     std::ranges::max(counts), [&](int count) { step.try_on(count); }));
  }
}

/// `first_step` of the epoch's, of which `steps_before` lie before this phase.
void Loop::run_phase(PhasePlan& plan, int first_step, int steps_before) {
  PhaseOnDevice& phase = on_device(plan.phase);
  TrainStep& step = phase.step;
  const int first = first_step - steps_before, steps = plan.steps.steps();
  const auto rates = optimizer_.learning_rates(rate_factor_);
  TrainStep::Start start{.orders = std::move(plan.orders),
                         .control = {.stream = stream_for(job_, purpose::augmentation, at_.epoch),
                                     .learning_rates = {rates[0], rates[1]},
                                     .steps = at_.steps}};
  for (std::size_t draw = 0; draw < plan.phase.draws.size(); ++draw) {
    start.offsets.push_back(plan.steps.offset(static_cast<int>(draw), first));
    samples_before_ += static_cast<std::int64_t>(start.offsets.back());
  }
  phase_steps_before_ = at_.steps;
  phase_first_ = first_step;
  step.begin(start);
  for (int i = first; i < steps; ++i) {
    stop_if_asked(i > first ? &step : nullptr);
    const std::vector<int>& counts = plan.steps.counts[static_cast<std::size_t>(i)];
    issue(phase, counts);
    ++at_.step;
    ++at_.steps;
    for (const int count : counts) result_.sample_passes += count;
    const bool last = i + 1 == steps;
    // While the device is at work on what was issued.
    if (last && at_.step == steps_of_epoch_ && at_.epoch + 1 < epochs()) next_ = plan_of(at_.epoch + 1);
    if (last || glances_.due()) look(step);
  }
  samples_before_ = progress_.samples;
  if (result_.launches == 0) result_.launches = phase.captured.launches(plan.steps.counts.front());
}

void Loop::run_epoch(std::vector<PhasePlan>& plan, int first_step) {
  rate_factor_ = objective_.rate_factor(job_.recipe, at_.epoch);
  steps_of_epoch_ = 0;
  for (const PhasePlan& phase : plan) steps_of_epoch_ += phase.steps.steps();
  if (first_step > steps_of_epoch_) {
    throw Error(fmt::format("{}: the training state stands at step {} of {}", job_.state_file.string(), first_step + 1,
                            steps_of_epoch_));
  }
  int steps_before = 0;
  for (PhasePlan& phase : plan) {
    const int steps_after = steps_before + phase.steps.steps();
    if (at_.step < steps_after) {
      run_phase(phase, at_.step, steps_before);
    } else {
      samples_before_ += phase.steps.samples();
    }
    steps_before = steps_after;
  }
}

/// Counts the job's samples, and drops what an earlier job has left of steps that this one does not make: so there are
/// never more than one job's steps.
void Loop::look_ahead() {
  std::map<std::string, std::set<std::vector<int>>> kinds;  // of steps, by phase
  for (int epoch = 0; epoch < epochs(); ++epoch) {
    for (const Phase& phase : objective_.phases(epoch)) {
      const PhaseSteps steps = phase_steps(phase);
      progress_.samples_total += steps.samples();
      if (epoch < at_.epoch) samples_before_ += steps.samples();
      kinds[phase.name].insert(steps.counts.begin(), steps.counts.end());
      const auto known = phases_.find(phase.name);
      if (known != phases_.end() && !known->second.step.serves(phase)) phases_.erase(known);
    }
  }
  std::erase_if(phases_, [&](const auto& known) { return !kinds.contains(known.first); });
  for (auto& [name, phase] : phases_) phase.captured.keep(kinds.at(name));
}

TrainingResult Loop::run() {
  at_ = load_training_state(job_.state_file, job_.identity, epochs(), model_, optimizer_);
  observer_.begin(job_.what);
  progress_ = {.epoch = at_.epoch,
               .epochs = epochs(),
               .samples = 0,
               .samples_total = 0,
               .loss = 0,
               .accuracy = std::numeric_limits<double>::quiet_NaN()};
  look_ahead();
  const auto began = Clock::now();
  while (at_.epoch < epochs()) {
    std::vector<PhasePlan> plan = next_.empty() ? plan_of(at_.epoch) : std::exchange(next_, {});
    run_epoch(plan, at_.step);
    try {
      objective_.epoch_ended(at_.epoch, model_);
    } catch (const Interrupted&) {
      save();
      throw;
    }
    ++at_.epoch;
    at_.step = 0;
    // Two fsyncs take longer than a short epoch; a crash costs no more than what a state is old.
    if (at_.epoch < epochs() && Clock::now() - saved_ >= job_.save_every) save();
  }
  result_.seconds = std::chrono::duration<double>(Clock::now() - began).count();
  require_finite(job_, model_);
  return result_;
}

}  // namespace

Trainer::Trainer(ModelState& model) : model_(model) {}
Trainer::~Trainer() = default;

TrainingResult Trainer::run(Objective& objective, const TrainingJob& job, Observer& observer) {
  check(job.recipe);
  const std::uint8_t* mask = objective.mask();
  if (kept_ != nullptr && same_steps(kept_->recipe, job.recipe) && kept_->mask == mask) {
    kept_->optimizer.restart(job.recipe);
  } else {
    kept_.reset();
    kept_ = std::make_unique<TrainingOnDevice>(model_, job.recipe, mask);
  }
  return Loop(model_, *kept_, objective, job, observer).run();
}

}  // namespace nepenthe
