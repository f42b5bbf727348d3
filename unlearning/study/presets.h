// The studies there are: which experiments each consists of. A study is a list of named experiments; everything after
// that (unlearning/study/runner.h, the report) knows experiments alone.
#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"
#include "engine/device.h"
#include "unlearning/study/record.h"

namespace nepenthe {

struct Preset {
  std::string_view name, description;
};
/// quick, figures, sweeps, paper.
std::vector<Preset> presets();

struct StudySettings {
  std::string preset = "quick";
  std::string forget;             // F; empty: positions 40 % to 60 %, the study's
  std::filesystem::path weights;  // folder of published weights; empty: none
  /// Of the baseline, the golden standard and the report's Figures 2 and 3, so that they have one budget; 0: the
  /// study's 200 and 40 on a GPU, 8 on a CPU (quick: its own).
  int epochs = 0;
};

/// The experiments of a preset, each after those it goes on from. What needs weights that are not in the folder is left
/// out. Throws UsageError for a preset that there is not, and for data too small for the preset's shards and slices.
std::vector<Experiment> study_experiments(const StudySettings& settings, const Dataset& dataset, const Device& device);

/// Those of `experiments` that are among `names`, and what they go on from. Throws UsageError for a name that there is
/// not.
std::vector<Experiment> selected(const std::vector<Experiment>& experiments, const std::vector<std::string>& names);

}  // namespace nepenthe
