#include "engine/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <iterator>
#include <limits>
#include <utility>

#include "engine/error.h"
#include "engine/ops/softmax_cross_entropy.h"
#include "engine/optimizer.h"
#include "engine/safetensors.h"
#include "kernels/softmax_cross_entropy.h"

namespace nepenthe {
namespace {

/// Where a job stands: the next step to make.
struct Position {
  int epoch = 0;
  int step = 0;
};
constexpr const char* position_name = "position";

void save_state(const TrainingJob& job, Network& network, const Optimizer& optimizer, Position position) {
  StateDict state = network.parameters().state_dict();
  optimizer.save(state);
  const std::array<std::int64_t, 2> epoch_and_step{position.epoch, position.step};
  state.add(position_name, HostTensor::from({2}, epoch_and_step));
  state.metadata["identity"] = job.identity;
  write_safetensors(job.state_file, state);
}

/// Empty where there is no state of this very job; a damaged file is an error. `steps` are those of an epoch.
std::optional<Position> load_state(const TrainingJob& job, std::int64_t steps, Network& network, Optimizer& optimizer) {
  if (job.state_file.empty() || !std::filesystem::exists(job.state_file)) return std::nullopt;
  const StateDict state = read_safetensors(job.state_file);
  const auto identity = state.metadata.find("identity");
  if (identity == state.metadata.end() || identity->second != job.identity) return std::nullopt;
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
    optimizer.load(state);
    return Position{static_cast<int>(position[0]), static_cast<int>(position[1])};
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
  throw Error(fmt::format("{}: {}; a smaller --lr or other data would be right", job.what, how));
}

int count_right(Device& device, const Variable& logits, const std::int32_t* labels) {
  const kernels::LogitsShape shape{.rows = logits->value.shape().n, .classes = logits->value.shape().c};
  const DeviceArray<std::int32_t> ranks(device, static_cast<std::size_t>(shape.rows));
  std::visit([&](auto& exec) { kernels::true_class_rank(exec, shape, ranks.data(), logits->value.data(), labels); },
             device.exec());
  const std::vector<std::int32_t> host = device.download(ranks.data(), ranks.size());
  return static_cast<int>(std::ranges::count(host, 0));
}

struct StepResult {
  float loss;
  int right;  // samples whose true class had the largest logit
};

StepResult train_step(Network& network, const ImageSet::Batch& batch, Optimizer& optimizer, double lr_factor) {
  Tape tape;
  Device& device = network.parameters().device();
  Graph graph{.device = device, .training = true, .tape = &tape};
  network.parameters().begin_step();
  const Variable logits = network.forward(graph, make_variable(batch.images, false));
  const float loss = ops::softmax_cross_entropy(graph, logits, batch.labels.data());
  const int right = count_right(device, logits, batch.labels.data());
  if (std::isfinite(loss)) {
    tape.backward();
    optimizer.step(lr_factor);
  }
  return {loss, right};
}

}  // namespace

bool is_training_state(const std::filesystem::path& file, const std::string& identity) {
  try {
    return read_safetensors(file).metadata["identity"] == identity;
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
  const int samples = static_cast<int>(job.ids.size());
  const std::vector<int> sizes = batch_sizes(samples, job.recipe.batch);
  const Position start = load_state(job, std::ssize(sizes), network, optimizer).value_or(Position{});

  observer.begin(job.what);
  TrainingResult result;
  Observer::Progress progress{.epoch = start.epoch,
                              .epochs = job.recipe.epochs,
                              .samples = std::int64_t{start.epoch} * samples,
                              .samples_total = std::int64_t{job.recipe.epochs} * samples,
                              .loss = 0,
                              .accuracy = std::numeric_limits<double>::quiet_NaN()};
  const auto began = std::chrono::steady_clock::now();
  for (int epoch = start.epoch; epoch < job.recipe.epochs; ++epoch) {
    const std::vector<std::int32_t> order = keyed_order(stream_for(job, purpose::order, epoch), job.ids);
    const DeviceArray<std::int32_t> device_order(device, order);
    const double lr_factor = schedule_factor(job.recipe.schedule, epoch, job.recipe.epochs);
    std::optional<kernels::Augmentation> augmentation;
    if (job.recipe.augment)
      augmentation = kernels::Augmentation{.stream = stream_for(job, purpose::augmentation, epoch)};

    double loss_sum = 0;
    int seen = 0, seen_right = 0, offset = 0;
    for (int step = 0; step < static_cast<int>(sizes.size()); offset += sizes[step], ++step) {
      if (epoch == start.epoch && step < start.step) {
        progress.samples += sizes[step];
        continue;
      }
      if (observer.stop_requested()) {
        if (!job.state_file.empty()) save_state(job, network, optimizer, {epoch, step});
        throw Interrupted(fmt::format("interrupted in {}, epoch {} of {}, step {} of {}", job.what, epoch + 1,
                                      job.recipe.epochs, step + 1, sizes.size()));
      }
      const ImageSet::Batch batch = images.gather(device_order.data() + offset, sizes[step], augmentation);
      const auto [loss, right] = train_step(network, batch, optimizer, lr_factor);
      if (!std::isfinite(loss)) {
        diverged(job, fmt::format("the loss is {} in epoch {} of {}, step {} of {}, at learning rate {:.3g}", loss,
                                  epoch + 1, job.recipe.epochs, step + 1, sizes.size(), job.recipe.lr * lr_factor));
      }
      loss_sum += static_cast<double>(loss) * sizes[step];
      seen += sizes[step];
      seen_right += right;
      result.sample_passes += sizes[step];
      progress.epoch = epoch;
      progress.samples += sizes[step];
      progress.loss = loss_sum / seen;
      progress.accuracy = static_cast<double>(seen_right) / seen;
      observer.progress(progress);
    }
    result.loss = seen > 0 ? loss_sum / seen : 0;
    const bool last = epoch + 1 == job.recipe.epochs;
    if (!last && !job.state_file.empty()) save_state(job, network, optimizer, {epoch + 1, 0});
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
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

Predictions predict(Network& network, const ImageSet& images, const std::vector<std::int32_t>& ids, int batch,
                    const std::string& what, Observer& observer) {
  Device& device = network.parameters().device();
  const DeviceArray<std::int32_t> device_ids(device, ids);
  const int samples = static_cast<int>(ids.size()), classes = network.classes();
  Predictions predictions{.classes = classes, .logits = {}, .losses = {}, .ranks = {}};
  const auto append = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
  Observer::Progress progress{
      .epoch = 0, .epochs = 1, .samples = 0, .samples_total = samples, .loss = 0, .accuracy = 0};
  observer.begin(what);
  double loss_sum = 0;
  std::int64_t right = 0;
  for (int begin = 0; begin < samples; begin += batch) {
    if (observer.stop_requested()) throw Interrupted("interrupted during evaluation");
    const int count = std::min(batch, samples - begin);
    const ImageSet::Batch images_of_batch = images.gather(device_ids.data() + begin, count, std::nullopt);
    Graph graph{.device = device};
    const Variable logits = network.forward(graph, make_variable(images_of_batch.images, false));
    const DeviceArray<float> losses(device, static_cast<std::size_t>(count));
    const DeviceArray<std::int32_t> ranks(device, static_cast<std::size_t>(count));
    const kernels::LogitsShape shape{.rows = count, .classes = classes};
    std::visit(
        [&](auto& exec) {
          kernels::softmax_cross_entropy_forward(exec, shape, losses.data(), logits->value.data(),
                                                 images_of_batch.labels.data());
          kernels::true_class_rank(exec, shape, ranks.data(), logits->value.data(), images_of_batch.labels.data());
        },
        device.exec());
    append(predictions.logits, device.download(logits->value.data(), std::size_t(count) * classes));
    append(predictions.losses, device.download(losses.data(), std::size_t(count)));
    append(predictions.ranks, device.download(ranks.data(), std::size_t(count)));
    for (int i = begin; i < begin + count; ++i) {
      loss_sum += predictions.losses[i];
      right += predictions.ranks[i] == 0;
    }
    progress.samples += count;
    progress.loss = loss_sum / static_cast<double>(progress.samples);
    progress.accuracy = static_cast<double>(right) / static_cast<double>(progress.samples);
    observer.progress(progress);
  }
  return predictions;
}

}  // namespace nepenthe
