// The state of a training in a file, from which it goes on as if it had never stopped.
#pragma once

#include <filesystem>
#include <string>

#include "engine/model_state.h"
#include "engine/optimizer.h"

namespace nepenthe {

/// Where a training stands.
struct TrainingPosition {
  int epoch = 0;
  int step = 0;            // the next one to make, over all phases of the epoch; all made: its end is to be told of
  std::int64_t steps = 0;  // steps the optimiser has made
};

/// Writes model, optimiser and position, as one step, with a digest of the contents.
void save_training_state(const std::filesystem::path& file, const std::string& identity, const ModelState& model,
                         const Optimizer& optimizer, const TrainingPosition& position);

/// Loads them; the beginning, with nothing changed, where there is no file or it is another training's. Throws Error
/// where the contents do not fit their digest, or stand outside `epochs` epochs.
TrainingPosition load_training_state(const std::filesystem::path& file, const std::string& identity, int epochs,
                                     ModelState& model, Optimizer& optimizer);

/// Whether `file` is there and says to hold the state of a training with this identity; reads its header alone.
bool is_training_state(const std::filesystem::path& file, const std::string& identity);

}  // namespace nepenthe
