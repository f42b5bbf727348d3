#include "models/registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

#include "engine/base/error.h"
#include "models/resnet_cifar.h"

namespace nepenthe {
namespace {

constexpr std::array cifar_depths{20, 32, 44, 56};

}  // namespace

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  names.reserve(cifar_depths.size());
  for (const int depth : cifar_depths) names.push_back(fmt::format("resnet{}", depth));
  return names;
}

std::shared_ptr<const Architecture> make_architecture(std::string_view name, int classes) {
  for (const int depth : cifar_depths) {
    if (name == fmt::format("resnet{}", depth)) return make_resnet_cifar(depth, classes);
  }
  throw UsageError(fmt::format("unknown model \"{}\"; known are {}", name, fmt::join(model_names(), ", ")));
}

}  // namespace nepenthe
