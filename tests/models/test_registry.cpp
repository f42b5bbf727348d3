// The registry's networks have PyTorch's names, shapes, counts and costs; weights load strictly.
#include "models/registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/base/error.h"
#include "engine/base/random.h"
#include "engine/formats/torch_checkpoint.h"
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

/// The shapes of golden/FILE.json, with so many blocks a stage: the file's second one stands for all later ones.
Shapes torch_shapes(const std::string& file, const std::vector<int>& blocks) {
  Shapes shapes;
  const nlohmann::json golden = golden_json(file + ".json");
  for (const char* kind : {"parameters", "buffers"}) {
    for (const auto& entry : golden.at(kind)) {
      const std::string name = entry.at("name");
      const auto shape = entry.at("shape").get<std::vector<std::int64_t>>();
      if (!name.starts_with("layer")) {
        shapes[name] = shape;
        continue;
      }
      const int stage = name[5] - '1', block = name[7] - '0';  // "layerS.B."
      REQUIRE(name[8] == '.');
      if (block == 0) shapes[name] = shape;
      for (int later = 1; block == 1 && later < blocks.at(std::size_t(stage)); ++later) {
        shapes[name.substr(0, 7) + std::to_string(later) + name.substr(8)] = shape;
      }
    }
  }
  return shapes;
}

TEST_CASE("registry: names and shapes are PyTorch's, counts and costs the study's") {
  struct Case {
    std::string name, file;
    std::vector<int> blocks;  // a stage
    std::size_t entries;
    std::int64_t parameters;
    int side;
    double multiply_adds;
  };
  // Counts and costs as published: of CIFAR's (STUDY.md, chenyaofo/pytorch-cifar-models), and torchvision's, whose
  // counts with 1000 classes are 513 · 900 more.
  for (const auto& [name, file, blocks, entries, parameters, side, multiply_adds] :
       {Case{"resnet20", "resnet32", {3, 3, 3}, 107, 278324, 32, 40.8e6},
        Case{"resnet32", "resnet32", {5, 5, 5}, 167, 472756, 32, 69.1e6},
        Case{"resnet56", "resnet32", {9, 9, 9}, 287, 861620, 32, 125.8e6},
        Case{"resnet18", "resnet34", {2, 2, 2, 2}, 102, 11689512 - 513 * 900, 224, 1.814e9},
        Case{"resnet34", "resnet34", {3, 4, 6, 3}, 182, 21797672 - 513 * 900, 224, 3.664e9}}) {
    CAPTURE(name);
    const auto network = make_architecture(name, 100);
    CHECK(network->name() == name);
    CHECK(network->classes() == 100);
    const Shapes ours = shapes_of(*network), expected = torch_shapes(file, blocks);
    CHECK(ours == expected);
    CHECK(ours.size() == entries);
    std::int64_t count = 0;
    for (const auto& [tensor, shape] : expected) {
      if (tensor.find("running_") == std::string::npos) count += *element_count(shape);
    }
    CHECK(network->layout().parameter_count() == count);
    CHECK(count == parameters);
    CHECK(std::abs(static_cast<double>(network->multiply_adds(side)) / multiply_adds - 1) <= 0.005);
    const auto [head, end] = network->layout().range(ParameterGroup::head);
    CHECK(end == network->layout().parameter_floats());
    for (const ParameterSpec& spec : network->layout().specs()) {
      if (!is_statistic(spec.role)) CHECK((spec.offset >= head) == spec.name.starts_with("fc."));
    }
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
  CHECK(classes_of_replaced_head(folder / "w.safetensors", more_classes->architecture()) == 10);
  CHECK(classes_of_replaced_head(folder / "w.safetensors", other->architecture()) == std::nullopt);

  // A head of another width is none that a fresh one may stand in for.
  StateDict wider = source;
  for (auto& [name, tensor] : wider.entries) {
    if (name == "fc.weight") tensor = HostTensor::from({10, 128}, std::vector<float>(1280));
  }
  write_safetensors(folder / "wider.safetensors", wider);
  CHECK(classes_of_replaced_head(folder / "wider.safetensors", other->architecture()) == std::nullopt);
  NEPENTHE_CHECK_MESSAGE(Error, load_start_weights(folder / "wider.safetensors", *other),
                         "of another shape: fc.weight (10, 128) instead of (10, 64)");
}

/// With `prefix` before every name.
StateDict wrapped(StateDict state, const std::string& prefix) {
  for (auto& [name, tensor] : state.entries) name.insert(0, prefix);
  return state;
}

TEST_CASE("weights: everything that does not fit is said at once") {
  Device device(test_device());
  const TemporaryFolder folder;
  const auto network = std::make_unique<ModelState>(device, make_architecture("resnet20", 10));
  network->initialize({.seed = 1});
  StateDict state = network->state_dict();
  const auto before = serialize_safetensors(state);
  state.entries[0].first = "conv.weight";
  state.entries[2].first = "extra";
  std::ranges::find(state.entries, "fc.bias", [](const auto& e) { return e.first; })->second.shape = {10, 1};
  const std::string all =
      "missing: conv1.weight (16, 3, 3, 3), bn1.bias (16,); left over: conv.weight, extra; of another shape: fc.bias "
      "(10, 1) instead of (10,)";
  write_safetensors(folder / "w.safetensors", state);
  NEPENTHE_CHECK_MESSAGE(Error, load_weights(folder / "w.safetensors", *network),
                         fmt::format("w.safetensors: cannot be weights of resnet20 with 10 classes: {}", all));
  write_torch_checkpoint(folder / "w.pth", wrapped(state, "module."));
  NEPENTHE_CHECK_MESSAGE(Error, load_weights(folder / "w.pth", *network),
                         fmt::format("resnet20 with 10 classes (names without \"module.\"): {}", all));
  CHECK(serialize_safetensors(network->state_dict()) == before);
}

TEST_CASE("weights: what wrappers put before every name is taken off, in either format") {
  Device device(test_device());
  const TemporaryFolder folder;
  const auto network = std::make_unique<ModelState>(device, make_architecture("resnet20", 10)),
             same = std::make_unique<ModelState>(device, make_architecture("resnet20", 10)),
             more_classes = std::make_unique<ModelState>(device, make_architecture("resnet20", 100));
  network->initialize({.seed = 1});
  const StateDict state = network->state_dict();
  const auto original = serialize_safetensors(state);
  const HostTensor counter = HostTensor::from({}, std::array<std::int64_t, 1>{5});
  const auto files_of = [&](const StateDict& wrapped_state) {
    write_safetensors(folder / "w.safetensors", wrapped_state);
    write_torch_checkpoint(folder / "w.pth", wrapped_state);
    return std::array{folder / "w.safetensors", folder / "w.pth"};
  };
  for (const std::string prefix : {"", "module.", "_orig_mod.", "model.", "net.", "module._orig_mod.",
                                   "_orig_mod.module.", "model.model.backbone."}) {
    CAPTURE(prefix);
    StateDict given = wrapped(state, prefix);
    given.add(prefix + "bn1.num_batches_tracked", counter);
    for (const auto& file : files_of(given)) {
      same->initialize({.seed = 2});
      load_weights(file, *same);
      CHECK(serialize_safetensors(same->state_dict()) == original);
      // A head of another number of classes is replaced, behind a prefix too.
      CHECK(classes_of_replaced_head(file, same->architecture()) == std::nullopt);
      CHECK(classes_of_replaced_head(file, more_classes->architecture()) == 10);
      more_classes->initialize({.seed = 3});
      const StateDict own = more_classes->state_dict();
      load_start_weights(file, *more_classes);
      const StateDict mixed = more_classes->state_dict();
      for (const auto& [name, tensor] : mixed.entries) {
        CHECK(tensor.bytes == (name.starts_with("fc.") ? own : state).find(name)->bytes);
      }
    }
  }
  // PyTorch's AveragedModel has a counter beside its module.
  StateDict averaged = wrapped(state, "module.");
  averaged.add("n_averaged", counter);
  for (const auto& file : files_of(wrapped(averaged, "module."))) CHECK_NOTHROW(load_weights(file, *same));

  // One that not all have stays.
  StateDict partly = wrapped(state, "model.");
  partly.add("loss.weight", counter);
  NEPENTHE_CHECK_MESSAGE(Error, load_weights(files_of(partly)[1], *same), "left over: model.conv1.weight, ");
  // Nor does a layout lose a part of its own names.
  StateDict head_alone;
  head_alone.add("fc.weight", *state.find("fc.weight"));
  CHECK(unwrap(head_alone, same->layout()).empty());
  CHECK(head_alone.entries[0].first == "fc.weight");
  StateDict nothing;
  CHECK(unwrap(nothing, same->layout()).empty());
}

TEST_CASE("weights: the architectures they fit, with their classes") {
  Device device(test_device());
  for (const std::string& name : model_names()) {
    CAPTURE(name);
    const auto network = std::make_unique<ModelState>(device, make_architecture(name, 7));
    network->initialize({.seed = 1});
    StateDict state = wrapped(network->state_dict(), "module.");
    const auto fits = [&] {
      std::vector<std::string> found;
      for (const Fit& fit : fitting_architectures(state)) {
        CHECK(fit.classes == 7);
        CHECK(fit.prefix == "module.");
        found.push_back(fit.architecture);
      }
      return found;
    };
    CHECK(std::ranges::count(fits(), name) == 1);
    state.entries.front().second.dtype = DType::i32;
    CHECK(fits().empty());
    state.entries.erase(state.entries.begin());
    CHECK(fits().empty());
  }
  CHECK(fitting_architectures({}).empty());
}

/// The element `index` of an F32 tensor changed.
void put(StateDict& state, std::string_view tensor, std::size_t index, float value) {
  const auto found = std::ranges::find(state.entries, tensor, [](const auto& entry) { return entry.first; });
  REQUIRE(found != state.entries.end());
  std::memcpy(found->second.bytes.data() + index * sizeof value, &value, sizeof value);
}

/// One element of another type, as a file may have it.
template <class T>
HostTensor filled(DType dtype, std::int64_t count, T value) {
  const std::vector<T> values(static_cast<std::size_t>(count), value);
  const auto bytes = std::as_bytes(std::span(values));
  return {dtype, {count}, {bytes.begin(), bytes.end()}};
}

TEST_CASE("weights: a number that is not finite, or a negative variance, is refused with its place") {
  Device device(test_device());
  const TemporaryFolder folder;
  const auto network = std::make_unique<ModelState>(device, make_architecture("resnet20", 10)),
             other_head = std::make_unique<ModelState>(device, make_architecture("resnet20", 7));
  network->initialize({.seed = 1});
  other_head->initialize({.seed = 2});
  const StateDict good = network->state_dict();
  const auto before = serialize_safetensors(good);
  const auto check_refused = [&](const StateDict& state, std::string_view text) {
    CAPTURE(text);
    write_safetensors(folder / "w.safetensors", state);
    NEPENTHE_CHECK_MESSAGE(Error, load_weights(folder / "w.safetensors", *network), text);
    NEPENTHE_CHECK_MESSAGE(Error, load_weights(folder / "w.safetensors", *network), "w.safetensors: ");
    NEPENTHE_CHECK_MESSAGE(Error, load_start_weights(folder / "w.safetensors", *other_head), text);
    CHECK(serialize_safetensors(network->state_dict()) == before);
  };
  const auto with = [&](std::string_view tensor, std::size_t index, float value) {
    StateDict state = good;
    put(state, tensor, index, value);
    return state;
  };
  const auto with_tensor = [&](std::string_view name, HostTensor tensor) {
    StateDict state = good;
    std::ranges::find(state.entries, name, [](const auto& entry) { return entry.first; })->second = std::move(tensor);
    return state;
  };
  // conv1.weight is (16, 3, 3, 3): element 3·27 + 2·9 + 1·3 + 2.
  check_refused(with("conv1.weight", 104, NAN), "conv1.weight has nan at [3, 2, 1, 2]; a finite number within fp32");
  check_refused(with("layer3.2.bn2.weight", 63, INFINITY), "layer3.2.bn2.weight has inf at [63]");
  check_refused(with("layer1.0.bn1.running_mean", 0, -INFINITY), "layer1.0.bn1.running_mean has -inf at [0]");
  check_refused(with("layer1.0.bn1.running_var", 5, -0.25F),
                "layer1.0.bn1.running_var has -0.25 at [5]; a finite number of at least 0 would be right");
  check_refused(with("layer1.0.bn1.running_var", 5, NAN), "layer1.0.bn1.running_var has nan at [5]");
  check_refused(with_tensor("bn1.bias", filled(DType::f64, 16, 1e300)), "bn1.bias has 1e+300 at [0]");
  check_refused(with_tensor("bn1.bias", filled<std::uint16_t>(DType::f16, 16, 0x7C00)), "bn1.bias has inf at [0]");
  check_refused(with_tensor("bn1.bias", filled<std::uint16_t>(DType::bf16, 16, 0xFF80)), "bn1.bias has -inf at [0]");

  // What is right, or never read, stays so.
  StateDict state = with("layer1.0.bn1.running_var", 5, 0.0F);
  put(state, "layer1.0.bn1.running_var", 6, -0.0F);
  put(state, "layer1.0.bn1.running_mean", 5, -3.0F);
  put(state, "bn1.weight", 5, -1e38F);
  const HostTensor nan = filled(DType::f32, 1, NAN);
  state.add("bn1.num_batches_tracked", nan);
  write_safetensors(folder / "w.safetensors", state);
  CHECK_NOTHROW(load_weights(folder / "w.safetensors", *network));
  // A head that is replaced is not used.
  put(state, "fc.weight", 0, NAN);
  write_safetensors(folder / "w.safetensors", state);
  CHECK_NOTHROW(load_start_weights(folder / "w.safetensors", *other_head));
}

}  // namespace
}  // namespace nepenthe::tests
