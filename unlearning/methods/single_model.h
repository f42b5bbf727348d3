// Training one network outside SISA: the baseline, the golden standard (retraining without the forget set), and
// unlearning by fine-tuning on what is retained (STUDY §3).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "engine/device.h"
#include "engine/recipe.h"
#include "engine/training.h"
#include "unlearning/provenance/identity.h"

namespace nepenthe {

struct SingleModelTraining {
  std::string model;
  std::filesystem::path weights;       // to start from; empty: freshly initialised
  std::vector<std::int32_t> left_out;  // sorted ids of the training data
  std::string left_out_by;             // the specification of those, for the record
  Recipe recipe;
  TransferSettings transfer{};
  std::uint64_t seed = 1;
  /// The checkpoint, in the format of its ending, with its origin (unlearning/provenance/origin.h) where the format has
  /// metadata; beside it `out`.manifest.jsonl, what was done and when, and `out`.state while it is in the making.
  std::filesystem::path out;
  bool resume = false;
  /// Called after every epoch, counted from 0, before a state is saved; the model may be evaluated there. Those whose
  /// states were lost are told of again.
  std::function<void(int epoch, ModelState& model)> epoch_ended{};
};

// NOLINTNEXTLINE(bugprone-exception-escape): moving JSON throws nothing, as it declares
struct SingleModelResult {
  TrainingResult training;
  bool was_complete = false;       // nothing was left to do: no pass was made and there is no loss
  nlohmann::ordered_json origin;   // of the checkpoint
  std::int64_t multiply_adds = 0;  // of training
  std::string digest;              // SHA-256 of the checkpoint's file
};

/// Resuming a training that is complete, as the journal proves, makes nothing. Throws UsageError where `out` exists
/// otherwise or has an ending of no format, where a state of this name is there but not asked to be resumed, or the
/// other way round, or where it was made under other settings or class names; Error where another process trains to the
/// same `out`; Interrupted, with the state saved.
SingleModelResult train_single_model(const SingleModelTraining& training, const Dataset& dataset, Device& device,
                                     Observer& observer);

/// What lies beside `out` of a training that ended before it had cleared up: its state where the checkpoint is
/// complete, as the journal proves, and temporaries. Removes it and returns it. Nothing where another process trains to
/// `out`.
std::vector<std::filesystem::path> clear_up_after(const std::filesystem::path& out);

/// What an interrupted training of this name was computed with, as far as it can be read.
struct InterruptedTraining {
  std::optional<kernels::Isa> isa;
  std::string device, revision;
};
InterruptedTraining interrupted_training(const std::filesystem::path& out);

}  // namespace nepenthe
