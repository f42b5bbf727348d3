#include "models/registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

#include "engine/base/error.h"
#include "models/resnet.h"

namespace nepenthe {
namespace {

struct Known {
  int depth;
  std::shared_ptr<const Architecture> (*make)(int depth, int classes);
};
constexpr std::array known{Known{20, make_resnet_cifar},    Known{32, make_resnet_cifar},
                           Known{44, make_resnet_cifar},    Known{56, make_resnet_cifar},
                           Known{18, make_resnet_imagenet}, Known{34, make_resnet_imagenet}};

std::string name_of(const Known& network) { return fmt::format("resnet{}", network.depth); }

}  // namespace

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  names.reserve(known.size());
  for (const Known& network : known) names.push_back(name_of(network));
  return names;
}

std::shared_ptr<const Architecture> make_architecture(std::string_view name, int classes) {
  for (const Known& network : known) {
    if (name == name_of(network)) return network.make(network.depth, classes);
  }
  throw UsageError(fmt::format("unknown model \"{}\"; known are {}", name, fmt::join(model_names(), ", ")));
}

}  // namespace nepenthe
