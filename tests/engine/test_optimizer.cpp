// The optimisers against PyTorch's trajectories.
#include "engine/optimizer.h"

#include <algorithm>
#include <cmath>

#include "engine/base/error.h"
#include "golden.h"
#include "reference/optimizers.h"

namespace nepenthe::tests {
namespace {

constexpr double trajectory_tolerance = 1e-6;
constexpr std::int64_t count = 37;
constexpr std::size_t size = count;

Recipe recipe_of(const nlohmann::json& entry) {
  Recipe recipe;
  recipe.lr = entry.at("lr").at(0);
  recipe.weight_decay = entry.at("weight_decay");
  if (entry.at("kind") == "adam") {
    recipe.optimizer = OptimizerKind::adam;
    REQUIRE(entry.at("beta1") == 0.9);  // which the engine has built in
    REQUIRE(entry.at("beta2") == 0.999);
    REQUIRE(entry.at("eps") == 1e-8);
  } else {
    recipe.momentum = entry.at("momentum");
    recipe.dampening = entry.at("dampening");
    recipe.nesterov = entry.at("nesterov");
  }
  check(recipe);
  return recipe;
}

/// A model of tensors with 37 values each and the values and gradients of the golden file.
class Subject {
 public:
  Subject(Device& device, const std::vector<std::string>& names) : parameters(device, layout_of(names)) {
    for (std::size_t i = 0; i < names.size(); ++i) put(parameters.values(), i, narrowed(golden.values("initial")));
  }
  static ParameterLayout layout_of(const std::vector<std::string>& names) {
    ParameterLayout layout;
    for (const std::string& name : names) {
      const auto group = name.starts_with("fc.") ? ParameterGroup::head : ParameterGroup::backbone;
      layout.add(name, Role::linear_weight, {count}, 1, group);
    }
    return layout;
  }
  void put(float* buffer, std::size_t tensor, const std::vector<float>& values) {
    parameters.device().upload(buffer + parameters.layout().specs()[tensor].offset, values.data(), values.size());
  }
  std::vector<float> get(std::size_t tensor) {
    return parameters.device().download(parameters.values() + parameters.layout().specs()[tensor].offset, size);
  }
  /// Every tensor's gradient is that of `step`.
  void set_gradients(std::size_t step) {
    const auto gradient = narrowed(golden.row("gradients", step));
    for (std::size_t i = 0; i < parameters.layout().specs().size(); ++i) put(parameters.gradients(), i, gradient);
  }
  Golden golden{"optimizers.safetensors"};
  Parameters parameters;
};

/// An optimiser with the control that a trainer would keep for it.
struct Steps {
  Steps(Parameters& parameters, const Recipe& recipe)
      : device(parameters.device()), optimizer(parameters, recipe), control(device, 1) {}
  void step(double factor) {
    ++made;
    const auto rates = optimizer.learning_rates(factor);
    const kernels::StepControl now{.learning_rates = {rates[0], rates[1]}, .steps = made};
    device.upload(control.data(), &now, 1);
    optimizer.step(control.data());
  }
  Device& device;
  Optimizer optimizer;
  DeviceArray<kernels::StepControl> control;
  std::int64_t made = 0;
};

TEST_CASE("optimizer: every case of PyTorch's") {
  Device device(test_device());
  double worst = 0;
  const nlohmann::json cases = golden_json("optimizers.json").at("cases");
  REQUIRE(cases.size() == 12);
  for (const nlohmann::json& entry : cases) {
    const std::string name = entry.at("name");
    CAPTURE(name);
    Subject subject(device, {"layer.weight"});
    const Recipe recipe = recipe_of(entry);
    Steps optimizer(subject.parameters, recipe);
    const auto rates = entry.at("lr").get<std::vector<double>>();
    std::vector<double> largest(size);  // of each element's values, at the beginning and on the way
    const auto initial = subject.golden.values("initial");
    for (std::size_t i = 0; i < size; ++i) largest[i] = std::abs(initial[i]);
    for (std::size_t step = 0; step < rates.size(); ++step) {
      CAPTURE(step);
      subject.set_gradients(step);
      optimizer.step(rates[step] / recipe.lr);
      const auto ours = subject.get(0);
      const auto expected = subject.golden.row(name + "/f64", step);
      const double error = relative_error(ours, expected);
      CHECK(error <= trajectory_tolerance);
      CHECK(relative_error(ours, subject.golden.row(name + "/f32", step)) <= trajectory_tolerance);
      worst = std::max(worst, error);
      // One element with gradients of 1000 rules the norm, so each is looked at for itself too.
      for (std::size_t i = 0; i < size; ++i) {
        largest[i] = std::max(largest[i], std::abs(expected[i]));
        CAPTURE(i);
        CHECK(std::abs(ours[i] - expected[i]) <= 2 * trajectory_tolerance * largest[i]);
      }
    }
    // The gap behind the tensor, up to a multiple of 16 floats, stays zero.
    const auto all = device.download(subject.parameters.values(), subject.parameters.layout().parameter_floats());
    REQUIRE(all.size() == 48);
    CHECK(std::all_of(all.begin() + count, all.end(), [](float x) { return x == 0; }));
  }
  MESSAGE("optimizers: within ", worst, " in norm of PyTorch's float64");
}

TEST_CASE("optimizer: the last layer has a learning rate of its own") {
  Device device(test_device());
  const std::string name = "nesterov_wd0.0005_constant";
  const auto cases = golden_json("optimizers.json").at("cases");
  const auto entry =
      *std::find_if(cases.begin(), cases.end(), [&](const auto& each) { return each.at("name") == name; });
  Subject subject(device, {"layer.weight", "fcx.weight", "fc.weight", "fc.bias"});
  Recipe recipe = recipe_of(entry);
  recipe.fc_lr = recipe.lr;  // PyTorch's trajectory for the last layer, the reference's for the others
  recipe.lr = 0.03;
  Steps optimizer(subject.parameters, recipe);
  std::vector<double> w = subject.golden.values("initial"), v(size);
  for (std::size_t step = 0; step < 12; ++step) {
    CAPTURE(step);
    subject.set_gradients(step);
    optimizer.step(1);
    const auto gradient = subject.golden.row("gradients", step);
    for (std::size_t i = 0; i < size; ++i) {
      reference::sgd_step({.weight_decay = 5e-4f, .nesterov = true}, step == 0, 0.03, w[i], v[i], gradient[i]);
    }
    CHECK(relative_error(subject.get(0), w) <= trajectory_tolerance);
    CHECK(relative_error(subject.get(1), w) <= trajectory_tolerance);
    CHECK(relative_error(subject.get(2), subject.golden.row(name + "/f64", step)) <= trajectory_tolerance);
    CHECK(relative_error(subject.get(3), subject.golden.row(name + "/f64", step)) <= trajectory_tolerance);
  }
}

TEST_CASE(
    "optimizer: Adam with a learning rate of the last layer's own, both by cosine, is PyTorch's with two groups") {
  Device device(test_device());
  const auto rates = golden_json("optimizers.json").at("adam_groups");
  const Recipe recipe{.optimizer = OptimizerKind::adam,
                      .lr = rates.at("lr"),
                      .fc_lr = rates.at("fc_lr").get<double>(),
                      .weight_decay = 0};
  check(recipe);
  Subject subject(device, {"layer.weight", "fc.weight"});
  const auto initial = narrowed(subject.golden.values("adam_groups/initial"));
  for (const std::size_t tensor : {0, 1}) subject.put(subject.parameters.values(), tensor, initial);
  Steps optimizer(subject.parameters, recipe);
  for (int step = 0; step < 12; ++step) {
    CAPTURE(step);
    subject.set_gradients(std::size_t(step));
    optimizer.step(schedule_factor(Schedule::cosine, step, 12));
    CHECK(relative_error(subject.get(0), subject.golden.row("adam_groups/backbone", std::size_t(step))) <=
          trajectory_tolerance);
    CHECK(relative_error(subject.get(1), subject.golden.row("adam_groups/head", std::size_t(step))) <=
          trajectory_tolerance);
  }
}

TEST_CASE("optimizer: the factor multiplies both learning rates") {
  Device device(test_device());
  Recipe recipe{.lr = 0.1, .fc_lr = 0.2, .momentum = 0, .nesterov = false, .weight_decay = 0};
  Subject subject(device, {"layer.weight", "fc.weight"});
  Steps optimizer(subject.parameters, recipe);
  subject.set_gradients(1);
  optimizer.step(0.5);
  auto expected = subject.golden.values("initial"), expected_fc = expected;
  for (std::size_t i = 0; i < size; ++i) {
    expected[i] -= 0.05 * subject.golden.row("gradients", 1)[i];
    expected_fc[i] -= 0.1 * subject.golden.row("gradients", 1)[i];
  }
  CHECK(relative_error(subject.get(0), expected) <= trajectory_tolerance);
  CHECK(relative_error(subject.get(1), expected_fc) <= trajectory_tolerance);
}

TEST_CASE("optimizer: saved and loaded in the middle, it goes on with the same bits") {
  Device device(test_device());
  for (const OptimizerKind kind : {OptimizerKind::sgd, OptimizerKind::adam}) {
    Recipe recipe;
    recipe.optimizer = kind;
    recipe.lr = 0.01;
    Subject whole(device, {"layer.weight", "fc.weight"});
    Steps optimizer(whole.parameters, recipe);
    StateDict saved;
    std::vector<float> middle;
    for (std::size_t step = 0; step < 12; ++step) {
      if (step == 5) {
        optimizer.optimizer.save(saved, optimizer.made);
        middle = device.download(whole.parameters.values(), 96);
      }
      whole.set_gradients(step);
      optimizer.step(1);
    }
    Subject resumed(device, {"layer.weight", "fc.weight"});
    device.upload(resumed.parameters.values(), middle.data(), middle.size());
    Steps fresh(resumed.parameters, recipe);
    fresh.made = fresh.optimizer.load(saved);
    CHECK(fresh.made == 5);
    for (std::size_t step = 5; step < 12; ++step) {
      resumed.set_gradients(step);
      fresh.step(1);
    }
    CHECK(same_bits(resumed.get(0), whole.get(0)));
    CHECK(same_bits(resumed.get(1), whole.get(1)));

    // A state of another size or with something missing is refused and changes nothing.
    Subject other(device, {"layer.weight"});
    Optimizer small(other.parameters, recipe);
    CHECK_THROWS_AS(small.load(saved), Error);
    for (std::size_t i = 0; i < saved.entries.size(); ++i) {
      StateDict partial = saved;
      partial.entries.erase(partial.entries.begin() + static_cast<std::ptrdiff_t>(i));
      CAPTURE(saved.entries[i].first);
      CHECK_THROWS_AS(fresh.optimizer.load(partial), Error);
    }
  }
}

}  // namespace
}  // namespace nepenthe::tests
