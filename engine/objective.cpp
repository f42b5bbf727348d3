#include "engine/objective.h"

#include <utility>

namespace nepenthe {

CrossEntropy::CrossEntropy(const ImageSet& images, std::vector<std::int32_t> ids, int batch)
    : phase_{.name = "train",
             .draws = {{.images = &images, .ids = std::move(ids), .batch = batch, .losses = {.cross_entropy = 1}}}} {}

std::vector<Phase> CrossEntropy::phases(int) const { return {phase_}; }

}  // namespace nepenthe
