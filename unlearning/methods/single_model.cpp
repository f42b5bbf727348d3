#include "unlearning/methods/single_model.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <span>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/conv_algorithms_file.h"
#include "engine/formats/safetensors.h"
#include "models/registry.h"
#include "models/weights.h"
#include "unlearning/forget_spec.h"

namespace nepenthe {
namespace {

namespace fs = std::filesystem;

/// Names everything that decides the result, so that a state is only continued by the training it belongs to.
std::string identity_of(const SingleModelTraining& training, const Dataset& dataset, const Device& device) {
  nlohmann::ordered_json identity{{"model", training.model},
                                  {"classes", dataset.classes},
                                  {"data", dataset.train.digest},
                                  {"weights", training.weights.empty() ? "" : sha256_file(training.weights)},
                                  {"left_out", sha256_hex(std::as_bytes(std::span(training.left_out)))},
                                  {"recipe", to_json(training.recipe)},
                                  {"seed", training.seed},
                                  {"precision", name(device.precision())}};
  if (!device.given_conv_algorithms().empty()) identity["engines"] = digest(device.given_conv_algorithms());
  return identity.dump();
}

void check_state(const SingleModelTraining& training, const fs::path& state, const std::string& identity) {
  const bool there = fs::exists(state);
  if (training.resume && !there) {
    throw UsageError(fmt::format("--resume: there is no interrupted training at {}", state.string()));
  }
  if (!training.resume && there) {
    throw UsageError(fmt::format("{} holds an interrupted training; --resume continues it, removing it starts anew",
                                 state.string()));
  }
  if (training.resume && read_safetensors(state).metadata["identity"] != identity) {
    throw UsageError(
        fmt::format("--resume: {} was interrupted under other options, weights or data; the same ones "
                    "would be right",
                    state.string()));
  }
}

}  // namespace

SingleModelResult train_single_model(const SingleModelTraining& training, const Dataset& dataset, Device& device,
                                     Observer& observer) {
  check(training.recipe);
  if (fs::exists(training.out)) {
    throw UsageError(fmt::format("--out {}: exists already; another name, or removing it first, would be right",
                                 training.out.string()));
  }
  require_something_retained(dataset.train.count(), training.left_out);
  ModelState model(device, make_architecture(training.model, dataset.classes));
  model.initialize({.seed = training.seed, .purpose = purpose::initialization});
  if (!training.weights.empty()) load_start_weights(training.weights, model);

  const TrainingJob job{.recipe = training.recipe,
                        .stream = {.seed = training.seed},
                        .what = training.model,
                        .state_file = training.out.string() + ".state",
                        .identity = identity_of(training, dataset, device)};
  check_state(training, job.state_file, job.identity);

  const ImageSet images(device, dataset.train.pixels, dataset.train.labels, dataset.normalization);
  CrossEntropy objective(images, retained_ids(dataset.train.count(), training.left_out), training.recipe.batch);
  SingleModelResult result;
  try {
    result.training = train(model, objective, job, observer);
  } catch (const Interrupted& interrupted) {
    throw Interrupted(fmt::format("{}; the same command with --resume continues", interrupted.what()));
  }
  StateDict state = model.state_dict();
  state.metadata = {{"format", "pt"}, {"model", training.model}};
  write_safetensors(training.out, state);
  fs::remove(job.state_file);
  result.multiply_adds = 3 * model.architecture().multiply_adds(images.side()) * result.training.sample_passes;
  result.digest = sha256_file(training.out);
  return result;
}

}  // namespace nepenthe
