#include "engine/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>

#include "engine/base/error.h"
#include "engine/captured_steps.h"
#include "engine/formats/content_digest.h"
#include "engine/formats/safetensors.h"
#include "engine/memory_need.h"
#include "engine/ops/softmax_cross_entropy.h"
#include "engine/optimizer.h"
#include "kernels/step_control.h"

namespace nepenthe {
namespace {

/// Where a job stands: the next step to make.
struct Position {
  int epoch = 0;
  int step = 0;
};
constexpr const char* position_name = "position";

void save_state(const TrainingJob& job, Network& network, const Optimizer& optimizer, Position position,
                std::int64_t steps) {
  StateDict state = network.parameters().state_dict();
  optimizer.save(state, steps);
  const std::array<std::int64_t, 2> epoch_and_step{position.epoch, position.step};
  state.add(position_name, HostTensor::from({2}, epoch_and_step));
  state.metadata["identity"] = job.identity;
  write_with_digest(job.state_file, std::move(state));
}

struct Start {
  Position position;
  std::int64_t steps = 0;  // optimiser steps made before
};

/// The beginning where there is no state of this very job; a damaged file is an error. `steps` are those of an epoch.
Start load_state(const TrainingJob& job, std::int64_t steps, Network& network, Optimizer& optimizer) {
  if (job.state_file.empty() || !std::filesystem::exists(job.state_file)) return {};
  const StateDict state = read_with_digest(job.state_file, true);
  const auto identity = state.metadata.find("identity");
  if (identity == state.metadata.end() || identity->second != job.identity) return {};
  try {
    const HostTensor* tensor_of_position = state.find(position_name);
    if (tensor_of_position == nullptr || tensor_of_position->count() != 2) throw Error("no training state");
    const auto position = tensor_of_position->i64();
    if (position[0] < 0 || position[0] >= job.recipe.epochs || position[1] < 0 || position[1] >= steps) {
      throw Error(fmt::format("the training state stands at epoch {} of {}, step {} of {}", position[0] + 1,
                              job.recipe.epochs, position[1] + 1, steps));
    }
    StateDict weights;
    for (const auto& [tensor_name, tensor] : state.entries) {
      if (!tensor_name.starts_with("optimizer.") && tensor_name != position_name) weights.add(tensor_name, tensor);
    }
    network.parameters().load_state_dict(weights);
    return {.position = {static_cast<int>(position[0]), static_cast<int>(position[1])}, .steps = optimizer.load(state)};
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", job.state_file.string(), error.what()));
  }
}

RandomStream stream_for(const TrainingJob& job, std::uint32_t what, int epoch) {
  RandomStream stream = job.stream;
  stream.purpose = what;
  stream.epoch = static_cast<std::uint32_t>(epoch);
  return stream;
}

/// Continuing would diverge again, so the state goes.
[[noreturn]] void diverged(const TrainingJob& job, const std::string& how) {
  if (!job.state_file.empty()) std::filesystem::remove(job.state_file);
  throw Diverged(fmt::format("{}: {}; a smaller --lr or other data would be right", job.what, how));
}

/// Forward and backward pass and optimiser step on the next `count` samples of `order`; `control` moves on.
void train_step(Network& network, const ImageSet& images, Optimizer& optimizer, const std::int32_t* order,
                kernels::StepControl* control, int count, const std::optional<kernels::Augmentation>& augmentation) {
  Device& device = network.parameters().device();
  Tape tape;
  Pass pass{.device = device, .training = true, .tape = &tape};
  const ImageSet::Batch batch = images.gather(order, control, count, augmentation);
  network.parameters().begin_pass();
  const Variable logits = network.forward(pass, make_variable(batch.images, false));
  const ops::SampleScores scores = ops::softmax_cross_entropy(pass, logits, batch.labels.data());
  std::visit([&](auto& exec) { kernels::tally_batch(exec, control, count, scores.losses.data(), scores.ranks.data()); },
             device.exec());
  tape.backward();
  optimizer.step(control);
}

/// Scores of the next `count` samples of `order`, to `all`; `control` moves on.
void predict_step(Network& network, const ImageSet& images, const std::int32_t* order, kernels::StepControl* control,
                  int count, const kernels::PredictionArrays& all) {
  Device& device = network.parameters().device();
  Pass pass{.device = device};
  const ImageSet::Batch batch = images.gather(order, control, count, std::nullopt);
  network.parameters().begin_pass();
  const Variable logits = network.forward(pass, make_variable(batch.images, false));
  const ops::SampleScores scores = ops::softmax_cross_entropy(pass, logits, batch.labels.data());
  std::visit(
      [&](auto& exec) {
        kernels::store_predictions(exec, control, {.rows = count, .classes = network.classes()}, all,
                                   logits->value.data(), scores.losses.data(), scores.ranks.data());
      },
      device.exec());
}

/// Tells when the host should look at the device's numbers: after every step where that costs nothing, else now and
/// then, so that the device never waits for the next steps.
class Glances {
 public:
  Glances(Device& device, Observer& observer) : always_(observer.every_step() || !device.waits_for_results()) {}
  bool due() {
    const auto now = std::chrono::steady_clock::now();
    if (!always_ && now - last_ < std::chrono::milliseconds(200)) return false;
    last_ = now;
    return true;
  }

 private:
  bool always_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

/// The step on any number of samples, from the start of the order, where there are as many.
std::function<void(int)> from_start(Device& device, kernels::StepControl* control, int samples,
                                    const std::function<void(int)>& step_on) {
  return [=, &device](int count) {
    const kernels::StepControl start;
    device.upload(control, &start, 1);
    step_on(std::min(count, samples));
  };
}

}  // namespace

bool is_training_state(const std::filesystem::path& file, const std::string& identity) {
  try {
    return read_safetensors_metadata(file)["identity"] == identity;
  } catch (const Error&) {
    return false;
  }
}

std::vector<int> batch_sizes(int samples, int batch) {
  std::vector<int> sizes;
  for (int begin = 0; begin < samples; begin += batch) sizes.push_back(std::min(batch, samples - begin));
  if (sizes.size() > 1 && sizes.back() == 1) {
    sizes.pop_back();
    ++sizes.back();
  }
  return sizes;
}

TrainingResult train(Network& network, const ImageSet& images, const TrainingJob& job, Observer& observer) {
  check(job.recipe);
  Device& device = network.parameters().device();
  Optimizer optimizer(network.parameters(), job.recipe);
  const int samples = static_cast<int>(job.ids.size()), epochs = job.recipe.epochs;
  const std::vector<int> sizes = batch_sizes(samples, job.recipe.batch);
  const int steps_of_epoch = static_cast<int>(sizes.size());
  const auto [start, steps_before] = load_state(job, steps_of_epoch, network, optimizer);

  observer.begin(job.what);
  TrainingResult result;
  Observer::Progress progress{.epoch = start.epoch,
                              .epochs = epochs,
                              .samples = std::int64_t{start.epoch} * samples,
                              .samples_total = std::int64_t{epochs} * samples,
                              .loss = 0,
                              .accuracy = std::numeric_limits<double>::quiet_NaN()};
  const auto began = std::chrono::steady_clock::now();
  const DeviceArray<std::int32_t> device_order(device, job.ids.size());
  const DeviceArray<kernels::StepControl> control(device, 1);
  std::optional<kernels::Augmentation> augmentation;
  if (job.recipe.augment) augmentation = kernels::Augmentation{.stream = stream_for(job, purpose::augmentation, 0)};
  const auto order_of = [&](int epoch) { return keyed_order(stream_for(job, purpose::order, epoch), job.ids); };
  CapturedSteps captured(device);
  Glances glances(device, observer);
  std::int64_t steps = steps_before;
  std::vector<std::int32_t> order = order_of(start.epoch);
  for (int epoch = start.epoch; epoch < epochs; ++epoch) {
    const int first = epoch == start.epoch ? start.step : 0;
    const int skipped = std::accumulate(sizes.begin(), sizes.begin() + first, 0);
    const double lr_factor = schedule_factor(job.recipe.schedule, epoch, epochs);
    const auto rates = optimizer.learning_rates(lr_factor);
    kernels::StepControl totals{.epoch = static_cast<std::uint32_t>(epoch),
                                .offset = static_cast<std::uint32_t>(skipped),
                                .learning_rates = {rates[0], rates[1]},
                                .steps = steps};
    const std::int64_t steps_at_first = steps;
    device.upload(device_order.data(), order.data(), order.size());
    device.upload(control.data(), &totals, 1);

    const auto look = [&] {
      totals = device.download(control.data(), 1)[0];
      if (totals.diverged_at != 0) {
        diverged(job, fmt::format("the loss is {} in epoch {} of {}, step {} of {}, at learning rate {:.3g}",
                                  totals.diverged_loss, epoch + 1, epochs, first + totals.diverged_at - steps_at_first,
                                  steps_of_epoch, job.recipe.lr * lr_factor));
      }
      progress.epoch = epoch;
      progress.samples = std::int64_t{epoch} * samples + skipped + totals.seen;
      progress.loss = totals.loss_sum / static_cast<double>(totals.seen);
      progress.accuracy = static_cast<double>(totals.right) / static_cast<double>(totals.seen);
      observer.progress(progress);
    };
    for (int step = first; step < steps_of_epoch; ++step) {
      if (observer.stop_requested()) {
        if (step > first) look();  // a loss that is not finite must not become a state
        if (!job.state_file.empty()) save_state(job, network, optimizer, {epoch, step}, steps);
        throw Interrupted(fmt::format("interrupted in {}, epoch {} of {}, step {} of {}", job.what, epoch + 1, epochs,
                                      step + 1, steps_of_epoch));
      }
      const int count = sizes[step];
      const auto step_on = [&](int some) {
        train_step(network, images, optimizer, device_order.data(), control.data(), some, augmentation);
      };
      try {
        captured.run(count, [=] { step_on(count); });
      } catch (const std::bad_alloc&) {
        throw Error(describe_memory_need(device, "training " + network.architecture(), count,
                                         from_start(device, control.data(), samples, step_on)));
      }
      ++steps;
      result.sample_passes += count;
      const bool last = step + 1 == steps_of_epoch;
      // While the device is at work on what was issued.
      if (last && epoch + 1 < epochs) order = order_of(epoch + 1);
      if (last || glances.due()) look();
    }
    result.loss = totals.seen > 0 ? totals.loss_sum / static_cast<double>(totals.seen) : 0;
    if (epoch + 1 < epochs && !job.state_file.empty()) {
      save_state(job, network, optimizer, {epoch + 1, 0}, steps);
    }
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  result.launches = captured.launches(job.recipe.batch);
  // A loss tells of the weights before its step; this is for the last one, and for statistics, which no loss sees.
  const Parameters& parameters = network.parameters();
  const auto all_finite = [](const std::vector<float>& values) {
    return std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
  };
  if (!all_finite(device.download(parameters.values(), parameters.layout().parameter_floats())) ||
      !all_finite(device.download(parameters.statistics(), parameters.layout().statistic_floats()))) {
    diverged(job, "the training left weights that are not finite");
  }
  return result;
}

kernels::RangeTimes profile_step(Network& network, const ImageSet& images, const TrainingJob& job) {
  Device& device = network.parameters().device();
  Optimizer optimizer(network.parameters(), job.recipe);
  const int batch = job.recipe.batch, batches = static_cast<int>(job.ids.size()) / batch;
  if (batches < 3) throw std::invalid_argument("[trainer] a profile needs 3 batches or more");
  const auto rates = optimizer.learning_rates(1);
  const DeviceArray<std::int32_t> order(device, job.ids);
  const DeviceArray<kernels::StepControl> control(
      device, std::vector<kernels::StepControl>{{.learning_rates = {rates[0], rates[1]}}});
  const auto step = [&] { train_step(network, images, optimizer, order.data(), control.data(), batch, std::nullopt); };
  CapturedSteps captured(device);
  for (int i = 0; i + 1 < std::min(batches, 50); ++i) captured.run(batch, step);
  std::visit([](auto& exec) { kernels::time_ranges(exec); }, device.exec());
  const Device::StepScope scope(device);
  step();
  return std::visit([](auto& exec) { return kernels::take_range_times(exec); }, device.exec());
}

Predictions predict(Network& network, const ImageSet& images, const std::vector<std::int32_t>& ids, int batch,
                    const std::string& what, Observer& observer) {
  Device& device = network.parameters().device();
  const int samples = static_cast<int>(ids.size()), classes = network.classes();
  const DeviceArray<std::int32_t> device_ids(device, ids);
  const DeviceArray<float> logits(device, ids.size() * static_cast<std::size_t>(classes)), losses(device, ids.size());
  const DeviceArray<std::int32_t> ranks(device, ids.size());
  const kernels::PredictionArrays all{.logits = logits.data(), .losses = losses.data(), .ranks = ranks.data()};
  const DeviceArray<kernels::StepControl> control(device, std::vector<kernels::StepControl>(1));
  CapturedSteps captured(device);
  Glances glances(device, observer);
  Observer::Progress progress{
      .epoch = 0, .epochs = 1, .samples = 0, .samples_total = samples, .loss = 0, .accuracy = 0};
  observer.begin(what);
  for (int begin = 0; begin < samples; begin += batch) {
    if (observer.stop_requested()) throw Interrupted("interrupted during evaluation");
    const int count = std::min(batch, samples - begin);
    const auto step_on = [&](int some) { predict_step(network, images, device_ids.data(), control.data(), some, all); };
    try {
      captured.run(count, [=] { step_on(count); });
    } catch (const std::bad_alloc&) {
      throw Error(describe_memory_need(device, "evaluating " + network.architecture(), count,
                                       from_start(device, control.data(), samples, step_on)));
    }
    if (begin + count < samples && !glances.due()) continue;
    const kernels::StepControl totals = device.download(control.data(), 1)[0];
    progress.samples = totals.seen;
    progress.loss = totals.loss_sum / static_cast<double>(totals.seen);
    progress.accuracy = static_cast<double>(totals.right) / static_cast<double>(totals.seen);
    observer.progress(progress);
  }
  return {.classes = classes,
          .logits = device.download(logits.data(), logits.size()),
          .losses = device.download(losses.data(), losses.size()),
          .ranks = device.download(ranks.data(), ranks.size())};
}

}  // namespace nepenthe
