// Architectures by name.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/architecture.h"

namespace nepenthe {

/// "resnet20", "resnet32", … for CIFAR's own pictures, "resnet18" and "resnet34" for ImageNet's.
std::vector<std::string> model_names();

/// Throws UsageError for a name that is not there, listing those that are.
std::shared_ptr<const Architecture> make_architecture(std::string_view name, int classes);

}  // namespace nepenthe
