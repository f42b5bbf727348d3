#include "engine/objective.h"

#include <utility>

namespace nepenthe {

CrossEntropy::CrossEntropy(const SampleSet& samples, std::vector<std::int32_t> ids, int batch, const std::uint8_t* mask)
    : phase_{.name = "train",
             .draws = {{.samples = &samples, .ids = std::move(ids), .batch = batch, .losses = {.cross_entropy = 1}}}},
      mask_(mask) {}

std::vector<Phase> CrossEntropy::phases(int) const { return {phase_}; }

}  // namespace nepenthe
