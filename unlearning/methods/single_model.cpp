#include "unlearning/methods/single_model.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/formats/content_digest.h"
#include "engine/formats/safetensors.h"
#include "models/registry.h"
#include "models/weights.h"
#include "unlearning/forget_spec.h"
#include "unlearning/provenance/identity.h"
#include "unlearning/provenance/journal.h"

namespace nepenthe {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

fs::path state_of(const fs::path& out) { return out.string() + ".state"; }
fs::path journal_of(const fs::path& out) { return out.string() + ".manifest.jsonl"; }

void check_places(const SingleModelTraining& training) {
  if (fs::exists(training.out)) {
    throw UsageError(
        fmt::format("{}: exists already; another name, or removing it first, would be right", training.out.string()));
  }
  const fs::path state = state_of(training.out);
  if (training.resume && !fs::exists(state)) {
    throw UsageError(fmt::format("there is no interrupted training at {}", state.string()));
  }
  if (!training.resume && fs::exists(state)) {
    throw UsageError(fmt::format("{} holds an interrupted training; resuming continues it, removing it starts anew",
                                 state.string()));
  }
}

/// The identity of the training in `state`, where it is that of `config` but for the instruction set.
std::string identity_to_continue(const fs::path& state, TrainingConfig config) {
  std::string identity = read_with_digest(state).metadata["identity"];
  try {
    const TrainingConfig its = config_from_json(Json::parse(identity));
    config.isa = its.isa;
    if (to_json(its) == to_json(config)) return identity;
  } catch (const std::exception&) {  // of another version
  }
  throw UsageError(fmt::format("{} was interrupted under other options, weights or data; the same ones would be right",
                               state.string()));
}

/// Trains and writes the checkpoint; what was done goes into the journal.
SingleModelResult train_under_lock(const SingleModelTraining& training, const Dataset& dataset, Device& device,
                                   Observer& observer, Journal& journal) {
  ModelState model(device, make_architecture(training.model, dataset.classes));
  model.initialize({.seed = training.seed, .purpose = purpose::initialization});
  if (!training.weights.empty()) load_start_weights(training.weights, model);

  TrainingConfig config{.model = training.model,
                        .shards = 1,
                        .epochs = {training.recipe.epochs},
                        .recipe = training.recipe,
                        .seed = training.seed,
                        .left_out_digest = training.left_out.empty() ? "" : ids_digest(training.left_out)};
  complete_config(config, dataset, training.weights, device);
  const TrainingJob job{
      .recipe = training.recipe,
      .stream = {.seed = training.seed},
      .what = training.model,
      .state_file = state_of(training.out),
      .identity = training.resume ? identity_to_continue(state_of(training.out), config) : to_json(config).dump()};
  if (!training.resume) {
    Json created{{"event", "created"}, {"configuration", to_json(config)}, {"left_out", training.left_out.size()}};
    created.update(machine_json(device));
    journal.append(created);
  }

  const ImageSet images(device, dataset.train.pixels, dataset.train.labels, dataset.normalization);
  CrossEntropy objective(images, retained_ids(dataset.train.count(), training.left_out), training.recipe.batch);
  SingleModelResult result;
  try {
    result.training = train(model, objective, job, observer);
  } catch (const Interrupted&) {
    Json interrupted{{"event", "interrupted"}};
    interrupted.update(machine_json(device));
    journal.append(interrupted);
    throw;
  }
  StateDict state = model.state_dict();
  state.metadata = {{"format", "pt"}, {"model", training.model}};
  const std::string content = content_digest(state);
  write_with_digest(training.out, std::move(state));
  Json completed{{"event", "completed"},
                 {"sample_passes", result.training.sample_passes},
                 {"train_seconds", result.training.seconds},
                 {"checkpoint", content}};
  completed.update(machine_json(device));
  journal.append(completed);
  fs::remove(job.state_file);
  result.multiply_adds = 3 * model.architecture().multiply_adds(images.side()) * result.training.sample_passes;
  result.digest = sha256_file(training.out);
  return result;
}

}  // namespace

SingleModelResult train_single_model(const SingleModelTraining& training, const Dataset& dataset, Device& device,
                                     Observer& observer) {
  check(training.recipe);
  require_something_retained(dataset.train.count(), training.left_out);
  Journal journal(journal_of(training.out));
  try {
    check_places(training);  // under the lock: the state of a training that is running is not an interrupted one
    return train_under_lock(training, dataset, device, observer, journal);
  } catch (...) {
    // A training that came to nothing leaves nothing behind.
    const bool nothing =
        journal.lines().entries.empty() || (!fs::exists(state_of(training.out)) && !fs::exists(training.out));
    if (journal.is_new() && nothing) journal.remove();
    throw;
  }
}

InterruptedTraining interrupted_training(const fs::path& out) {
  InterruptedTraining found;
  try {
    const auto identity = read_safetensors_metadata(state_of(out)).at("identity");
    found.isa = config_from_json(Json::parse(identity)).isa;
    for (const Json& entry : read_journal(journal_of(out)).entries) found.device = entry.value("device", found.device);
  } catch (const std::exception&) {  // training says what is wrong with it
  }
  return found;
}

}  // namespace nepenthe
