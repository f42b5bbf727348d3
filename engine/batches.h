// How an epoch's samples are cut into batches, and in which order they come.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/random.h"
#include "engine/objective.h"

namespace nepenthe {

/// The sizes of an epoch's batches: the last one may be smaller, and a last batch of one sample joins the one before.
std::vector<int> batch_sizes(int samples, int batch);

/// A phase's steps: how many samples of each draw a step takes.
struct PhaseSteps {
  std::vector<std::vector<int>> counts;  // by step, then by draw
  int steps() const { return static_cast<int>(counts.size()); }
  std::int64_t samples() const;  // of all steps and draws
  /// Samples of a draw in front of a step.
  std::size_t offset(int draw, int step) const;
};
/// Throws std::invalid_argument for a phase without draws, or with a draw of no samples or no batch.
PhaseSteps phase_steps(const Phase& phase);

/// The ids of a draw in the order in which the phase's steps take them: keyed by `stream` (its purpose is filled in),
/// and from the start again where the draw runs out.
std::vector<std::int32_t> draw_order(const Phase& phase, int draw, const PhaseSteps& steps, RandomStream stream);

}  // namespace nepenthe
