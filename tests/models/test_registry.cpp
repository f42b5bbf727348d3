// The registry's networks have PyTorch's names, shapes, counts and costs; weights load strictly.
#include "models/registry.h"

#include <cmath>

#include "engine/base/error.h"
#include "engine/base/random.h"
#include "golden.h"
#include "models/weights.h"
#include "shared_data.h"

namespace nepenthe::tests {
namespace {

using Shapes = std::map<std::string, std::vector<std::int64_t>>;

Shapes shapes_of(const Architecture& architecture) {
  Shapes shapes;
  for (const ParameterSpec& spec : architecture.layout().specs()) shapes[spec.name] = spec.shape;
  return shapes;
}

/// PyTorch's ResNet32, and out of it the others: blocks beyond `blocks` a stage left out, or the second one repeated.
Shapes torch_shapes(int blocks) {
  Shapes shapes;
  const nlohmann::json golden = golden_json("resnet32.json");
  for (const char* kind : {"parameters", "buffers"}) {
    for (const auto& entry : golden.at(kind)) {
      const std::string name = entry.at("name");
      const auto shape = entry.at("shape").get<std::vector<std::int64_t>>();
      if (!name.starts_with("layer")) {
        shapes[name] = shape;
        continue;
      }
      const int block = name[7] - '0';  // "layerS.B."
      REQUIRE(name[8] == '.');
      if (block < blocks) shapes[name] = shape;
      for (int more = 5; block == 1 && more < blocks; ++more) {
        shapes[name.substr(0, 7) + std::to_string(more) + name.substr(8)] = shape;
      }
    }
  }
  return shapes;
}

TEST_CASE("registry: names and shapes are PyTorch's, counts and costs the study's") {
  struct Case {
    std::string name;
    int blocks;
    std::int64_t parameters;
    double multiply_adds;
  };
  // Counts and costs of ResNet32 and ResNet56 as published (STUDY.md, chenyaofo/pytorch-cifar-models).
  for (const auto& [name, blocks, parameters, multiply_adds] :
       {Case{"resnet20", 3, 0, 0}, Case{"resnet32", 5, 472756, 69.1e6}, Case{"resnet56", 9, 861620, 125.8e6}}) {
    CAPTURE(name);
    const auto network = make_architecture(name, 100);
    CHECK(network->name() == name);
    CHECK(network->classes() == 100);
    const Shapes ours = shapes_of(*network), expected = torch_shapes(blocks);
    CHECK(ours == expected);
    std::int64_t count = 0;
    for (const auto& [tensor, shape] : expected) {
      if (tensor.find("running_") == std::string::npos) count += *element_count(shape);
    }
    CHECK(network->layout().parameter_count() == count);
    const auto [head, end] = network->layout().range(ParameterGroup::head);
    CHECK(end == network->layout().parameter_floats());
    for (const ParameterSpec& spec : network->layout().specs()) {
      if (!is_statistic(spec.role)) CHECK((spec.offset >= head) == spec.name.starts_with("fc."));
    }
    if (parameters == 0) continue;
    CHECK(count == parameters);
    CHECK(std::abs(static_cast<double>(network->multiply_adds(32)) / multiply_adds - 1) <= 0.005);
  }
  const auto ten = make_architecture("resnet20", 10);
  CHECK(shapes_of(*ten).at("fc.weight") == std::vector<std::int64_t>{10, 64});
}

TEST_CASE("registry: an unknown name is refused with the known ones") {
  for (const std::string& name : model_names()) CHECK(make_architecture(name, 3) != nullptr);
  for (const char* name : {"resnet", "resnet33", "ResNet20", "", "resnet320", " resnet20"}) {
    CAPTURE(name);
    NEPENTHE_CHECK_MESSAGE(UsageError, make_architecture(name, 10), "resnet56");
  }
}

TEST_CASE("registry: shards start from different weights, the same shard from the same") {
  Device device(test_device());
  const auto network = std::make_unique<ModelState>(device, make_architecture("resnet20", 10));
  const auto start = [&](std::uint32_t shard) {
    network->initialize({.seed = 1, .purpose = purpose::initialization, .shard = shard});
    return serialize_safetensors(network->state_dict());
  };
  const auto first = start(0);
  CHECK(start(1) != first);
  CHECK(start(0) == first);
}

TEST_CASE("weights: files load strictly, and say what does not fit") {
  Device device(test_device());
  const TemporaryFolder folder;
  const auto network = std::make_unique<ModelState>(device, make_architecture("resnet20", 10)),
             other = std::make_unique<ModelState>(device, make_architecture("resnet20", 10));
  network->initialize({.seed = 1});
  other->initialize({.seed = 2});
  const auto bytes = [](const ModelState& n) { return serialize_safetensors(n.state_dict()); };
  const auto original = bytes(*network), others = bytes(*other);
  write_safetensors(folder / "w.safetensors", network->state_dict());
  CHECK(others != original);
  load_weights(folder / "w.safetensors", *other);
  CHECK(bytes(*other) == original);

  const auto deeper = std::make_unique<ModelState>(device, make_architecture("resnet32", 10));
  deeper->initialize({.seed = 3});
  const auto before = bytes(*deeper);
  NEPENTHE_CHECK_MESSAGE(Error, load_weights(folder / "w.safetensors", *deeper), "layer1.3.conv1.weight");
  NEPENTHE_CHECK_MESSAGE(Error, load_weights(folder / "w.safetensors", *deeper), "w.safetensors");
  CHECK(bytes(*deeper) == before);
  write_safetensors(folder / "deep.safetensors", deeper->state_dict());
  NEPENTHE_CHECK_MESSAGE(Error, load_weights(folder / "deep.safetensors", *other), "layer1.3.bn1.bias");
  CHECK(bytes(*other) == original);

  // Weights to start from may have another last layer, which stays the network's own; a strict load refuses them.
  const auto more_classes = std::make_unique<ModelState>(device, make_architecture("resnet20", 100));
  more_classes->initialize({.seed = 4});
  const StateDict own = more_classes->state_dict();
  NEPENTHE_CHECK_MESSAGE(Error, load_weights(folder / "w.safetensors", *more_classes), "fc.weight");
  load_start_weights(folder / "w.safetensors", *more_classes);
  const StateDict mixed = more_classes->state_dict(), source = network->state_dict();
  for (const auto& [name, tensor] : mixed.entries) {
    CAPTURE(name);
    CHECK(tensor.bytes == (name.starts_with("fc.") ? own : source).find(name)->bytes);
  }
  other->initialize({.seed = 2});
  load_start_weights(folder / "w.safetensors", *other);  // as many classes: all of it
  CHECK(bytes(*other) == original);
}

}  // namespace
}  // namespace nepenthe::tests
