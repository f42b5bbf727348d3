// Training one network outside SISA: the baseline, the golden standard (retraining without the forget set), and
// unlearning by fine-tuning on what is retained (STUDY §3).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "engine/device.h"
#include "engine/recipe.h"
#include "engine/training.h"

namespace nepenthe {

struct SingleModelTraining {
  std::string model;
  std::filesystem::path weights;       // to start from; empty: freshly initialised
  std::vector<std::int32_t> left_out;  // sorted ids of the training data
  Recipe recipe;
  std::uint64_t seed = 1;
  /// The checkpoint; beside it `out`.manifest.jsonl, what was done and when, and `out`.state while it is in the making.
  std::filesystem::path out;
  bool resume = false;
};

struct SingleModelResult {
  TrainingResult training;
  std::int64_t multiply_adds = 0;  // of training: three forward passes' worth a sample
  std::string digest;              // SHA-256 of the checkpoint's file
};

/// Throws UsageError where `out` exists, where a state of this name is there but not asked to be resumed, or the other
/// way round, or where it was made under other settings; Error where another process trains to the same `out`;
/// Interrupted, with the state saved.
SingleModelResult train_single_model(const SingleModelTraining& training, const Dataset& dataset, Device& device,
                                     Observer& observer);

/// What an interrupted training of this name was computed with, as far as it can be read.
struct InterruptedTraining {
  std::optional<kernels::Isa> isa;
  std::string device;
};
InterruptedTraining interrupted_training(const std::filesystem::path& out);

}  // namespace nepenthe
