// Training one network outside SISA: the baseline, the golden standard (retraining without the forget set), and
// unlearning by fine-tuning on what is retained (STUDY §3).
#pragma once

#include <cstdint>
#include <filesystem>
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
  std::filesystem::path out;  // the checkpoint, and beside it `out`.state while it is in the making
  bool resume = false;
};

struct SingleModelResult {
  TrainingResult training;
  std::int64_t multiply_adds = 0;  // of training: three forward passes' worth a sample
  std::string digest;              // SHA-256 of the checkpoint
};

/// Throws UsageError where `out` exists, where a state of this name is there but not asked to be resumed, or the other
/// way round; Interrupted, with the state saved.
SingleModelResult train_single_model(const SingleModelTraining& training, const Dataset& dataset, Device& device,
                                     Observer& observer);

}  // namespace nepenthe
