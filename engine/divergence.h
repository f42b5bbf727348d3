// Trainings that leave the finite numbers.
#pragma once

#include <string>

#include "engine/training.h"

namespace nepenthe {

/// Throws Diverged: what diverged and how. Continuing would diverge again, so the job's state file goes.
[[noreturn]] void throw_diverged(const TrainingJob& job, const std::string& how);

/// Throws likewise where a parameter or statistic is not finite: a loss tells of the weights before its step, and of no
/// statistics.
void require_finite(const TrainingJob& job, const ModelState& model);

}  // namespace nepenthe
