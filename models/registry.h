// Networks by name.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/network.h"

namespace nepenthe {

/// "resnet20", "resnet32", …
std::vector<std::string> model_names();

/// A network with undefined weights: initialise or load them. Throws UsageError for a name that is not there, listing
/// those that are.
std::unique_ptr<Network> make_network(Device& device, std::string_view name, int classes);

}  // namespace nepenthe
