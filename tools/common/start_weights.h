// Weights that a training starts from, as the programs tell of them.
#pragma once

#include <filesystem>

#include "engine/architecture.h"
#include "tools/common/program.h"

namespace nepenthe {

/// Says, and puts into the result as "new_head", where training will replace the weights' head as one of another number
/// of classes (load_start_weights). Without weights there is nothing to say.
void tell_of_new_head(Program& program, const std::filesystem::path& weights, const Architecture& architecture);

/// Throws UsageError there instead.
void refuse_new_head(const std::filesystem::path& weights, const Architecture& architecture);

}  // namespace nepenthe
