#include "unlearning/methods/single_model.h"

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/in_the_making.h"
#include "engine/formats/content_digest.h"
#include "engine/formats/json_fields.h"
#include "engine/formats/safetensors.h"
#include "engine/formats/torch_checkpoint.h"
#include "kernels/revision.h"
#include "models/registry.h"
#include "models/weights.h"
#include "unlearning/forget_spec.h"
#include "unlearning/methods/training_set.h"
#include "unlearning/provenance/identity.h"
#include "unlearning/provenance/journal.h"
#include "unlearning/provenance/origin.h"

namespace nepenthe {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

fs::path state_of(const fs::path& out) { return out.string() + ".state"; }

/// Whether `out` is what the last training that the journal tells of ended with.
bool is_complete(const fs::path& out, const JournalLines& lines) {
  if (lines.entries.empty() || text(lines.entries.back(), "event") != "completed" || !is_there(out)) return false;
  try {
    return text(lines.entries.back(), "checkpoint") == content_digest(read_weights(out));
  } catch (const Error&) {
    return false;
  }
}

/// The line that a training began with, as it stands last in its journal; null where there is none.
Json begun(const JournalLines& lines) {
  for (auto line = lines.entries.rbegin(); line != lines.entries.rend(); ++line) {
    if (text(*line, "event") == "created") return *line;
  }
  return nullptr;
}

/// The CPU kernels that were at work last; empty where none is known.
std::string cpu_revision_of(const JournalLines& lines) {
  std::string last;
  for (const Json& entry : lines.entries) {
    if (const std::string version = cpu_revision_in(entry); !version.empty()) last = version;
  }
  return last;
}

void check_places(const SingleModelTraining& training) {
  if (is_there(training.out)) {
    throw UsageError(
        fmt::format("{}: exists already; another name, or removing it first, would be right", training.out.string()));
  }
  const fs::path state = state_of(training.out);
  if (training.resume && !is_there(state)) {
    throw UsageError(fmt::format("there is no interrupted training at {}", state.string()));
  }
  if (!training.resume && is_there(state)) {
    throw UsageError(fmt::format("{} holds an interrupted training; resuming continues it, removing it starts anew",
                                 state.string()));
  }
}

/// Whether an identity is that of `config` but for the instruction set.
bool is_identity_of(const Json& identity, TrainingConfig config) {
  const TrainingConfig its = config_from_json(identity);
  config.isa = its.isa;
  return to_json(its) == to_json(config);
}

void require_same_training(const Json& identity, const TrainingConfig& config, const Dataset& dataset,
                           const fs::path& file) {
  bool same = false;
  try {
    same = is_identity_of(identity, config);
    TrainingConfig its = config_from_json(identity);
    if (!same && its.data_digest == config.data_digest && its.class_names_digest != config.class_names_digest) {
      throw UsageError(other_class_names(dataset, file.string()));
    }
  } catch (const Error&) {  // of another version
  }
  if (same) return;
  throw UsageError(
      fmt::format("{} was made under other options, weights or data; the same ones would be right", file.string()));
}

/// The identity of the training in `state`, where it is that of `config` but for the instruction set.
std::string identity_to_continue(const fs::path& state, const TrainingConfig& config, const Dataset& dataset) {
  std::string identity = read_with_digest(state).metadata["identity"];
  require_same_training(Json::parse(identity, nullptr, false), config, dataset, state);
  return identity;
}

Json origin_json(const SingleModelTraining& training, const TrainingConfig& config, const Json& weights) {
  Json origin{{"configuration", to_json(config)}};
  if (!training.left_out.empty()) {
    origin["left_out"] = {{"specification", training.left_out_by},
                          {"samples", training.left_out.size()},
                          {"ids_digest", ids_digest(training.left_out)}};
  }
  if (!weights.is_null()) origin["weights"] = weights;
  return origin;
}

void record_beginning(Journal& journal, const SingleModelTraining& training, const TrainingConfig& config,
                      const Json& origin, const Device& device) {
  Json line;
  if (!training.resume) {
    line = {{"event", "created"},
            {"configuration", to_json(config)},
            {"left_out", training.left_out.size()},
            {origin_key, origin}};
  } else {
    const std::string before = cpu_revision_of(journal.lines());
    if (before.empty() || !device.isa() || before == kernels::cpu_revision) return;
    line = {{"event", "resumed"}, {"unlike", {{"kernels", before}}}};
  }
  line.update(machine_json(device));
  journal.append(line);
}

/// Cross entropy that is watched from epoch to epoch, in time that is not the training's.
class Watched final : public CrossEntropy {
 public:
  Watched(CrossEntropy objective, const std::function<void(int, ModelState&)>& epoch_ended)
      : CrossEntropy(std::move(objective)), epoch_ended_(epoch_ended) {}
  void epoch_ended(int epoch, ModelState& model) override {
    if (!epoch_ended_) return;
    const auto began = std::chrono::steady_clock::now();
    epoch_ended_(epoch, model);
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  }
  double seconds() const { return seconds_; }

 private:
  const std::function<void(int, ModelState&)>& epoch_ended_;
  double seconds_ = 0;
};

/// Trains and writes the checkpoint; what was done goes into the journal.
SingleModelResult train_under_lock(const SingleModelTraining& training, const Dataset& dataset, Device& device,
                                   Observer& observer, Journal& journal) {
  ModelState model(device, make_architecture(training.model, dataset.classes));
  model.initialize({.seed = training.seed, .purpose = purpose::initialization});
  Json weights;
  if (!training.weights.empty()) {
    weights = describe_weights(training.weights);
    require_class_names(weights, dataset);
    load_start_weights(training.weights, model);
  }

  TrainingConfig config{.model = training.model,
                        .shards = 1,
                        .epochs = {training.recipe.epochs},
                        .recipe = training.recipe,
                        .transfer = training.transfer,
                        .seed = training.seed,
                        .left_out_digest = training.left_out.empty() ? "" : ids_digest(training.left_out)};
  complete_config(config, dataset, training.weights, device);
  SingleModelResult result;
  if (training.resume && is_complete(training.out, journal.lines())) {
    const Json line = begun(journal.lines());
    require_same_training(line.is_null() ? Json() : member(line, "configuration"), config, dataset, training.out);
    result.was_complete = true;
    result.origin = line.contains(origin_key) ? line.at(origin_key) : Json();
    result.digest = sha256_file(training.out);
    return result;
  }
  check_places(training);
  const std::string identity =
      training.resume ? identity_to_continue(state_of(training.out), config, dataset) : to_json(config).dump();
  config = config_from_json(Json::parse(identity));  // with the instruction set that the training began with
  result.origin = origin_json(training, config, weights);
  record_beginning(journal, training, config, result.origin, device);

  const TrainingJob job{.recipe = training.recipe,
                        .stream = {.seed = training.seed},
                        .what = training.model,
                        .state_file = state_of(training.out),
                        .identity = identity};
  TrainingSet data(device, dataset, training.transfer);
  const std::vector<std::int32_t> ids = retained_ids(dataset.train.count(), training.left_out);
  try {
    data.prepare(model, ids, observer);
    Watched objective(data.objective(ids, training.recipe.batch), training.epoch_ended);
    result.training = Trainer(model).run(objective, job, observer);
    result.training.seconds -= objective.seconds();
  } catch (const Interrupted&) {
    Json interrupted{{"event", "interrupted"}};
    interrupted.update(machine_json(device));
    journal.append(interrupted);
    throw;
  }
  StateDict state = model.state_dict();
  if (weights_format(training.out) == WeightsFormat::safetensors) {
    state.metadata = {{"format", "pt"}, {"model", training.model}, {origin_key, result.origin.dump()}};
  }
  // The line comes before the file: then the file is never there without the proof that it is complete.
  Json completed{{"event", "completed"},
                 {"sample_passes", result.training.sample_passes},
                 {"train_seconds", result.training.seconds},
                 {"checkpoint", content_digest(state)}};
  completed.update(machine_json(device));
  journal.append(completed);
  write_weights(training.out, std::move(state));
  remove_file(job.state_file);
  result.multiply_adds = training_multiply_adds(model.architecture(), training.transfer, result.training.sample_passes,
                                                data.feature_passes());
  result.digest = sha256_file(training.out);
  return result;
}

}  // namespace

SingleModelResult train_single_model(const SingleModelTraining& training, const Dataset& dataset, Device& device,
                                     Observer& observer) {
  check(training.recipe);
  check(training.transfer, training.recipe);
  (void)weights_format(training.out);
  require_something_retained(dataset.train.count(), training.left_out);
  // Under the lock: the state of a training that is running is not an interrupted one.
  Journal journal(journal_of(training.out));
  try {
    return train_under_lock(training, dataset, device, observer, journal);
  } catch (...) {
    // A training that came to nothing leaves nothing behind.
    const bool nothing =
        journal.lines().entries.empty() || (!is_there(state_of(training.out)) && !is_there(training.out));
    if (journal.is_new() && nothing) journal.remove();
    throw;
  }
}

std::vector<fs::path> clear_up_after(const fs::path& out) {
  std::error_code unknown;
  if (!is_there(journal_of(out))) return {};
  const Journal journal(journal_of(out));
  const std::string state = state_of(out).filename().string();
  std::vector<fs::path> removed =
      remove_abandoned_files(folder_of(out), [&](std::string_view target) { return target == state; });
  const bool left = fs::is_regular_file(fs::symlink_status(state_of(out), unknown));
  if (left && is_complete(out, journal.lines()) && fs::remove(state_of(out), unknown)) removed.push_back(state_of(out));
  return removed;
}

InterruptedTraining interrupted_training(const fs::path& out) {
  InterruptedTraining found;
  try {
    const auto identity = read_safetensors_metadata(state_of(out))["identity"];
    found.isa = config_from_json(parse_object(identity)).isa;
    const JournalLines lines = read_journal(journal_of(out));
    for (const Json& entry : lines.entries) {
      if (entry.contains("device")) found.device = text(entry, "device");
    }
    found.revision = cpu_revision_of(lines);
  } catch (const Error&) {  // training says what is wrong with it
  }
  return found;
}

}  // namespace nepenthe
