// Whole networks: the reference in double against PyTorch's float64, and our backend in fp32 against the reference.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "engine/model_state.h"
#include "engine/ops/softmax_cross_entropy.h"
#include "formula.h"
#include "models/registry.h"
#include "models/resnet.h"

namespace nepenthe::tests {
namespace {

/// PyTorch's answers are in float64, and so is the reference.
constexpr double float64_tolerance = 1e-8;

/// A network of golden/NAME.safetensors.
struct Subject {
  std::string name;
  reference::ResNetPlan plan;
  Golden golden;
  nlohmann::json settings;

  Subject(const std::string& its_name, reference::ResNetPlan its_plan)
      : name(its_name),
        plan(std::move(its_plan)),
        golden(its_name + ".safetensors"),
        settings(golden_json(its_name + ".json")) {}
  FormulaBatch batch(std::uint64_t step, int count) const { return formula_batch(step, count, settings.at("side")); }
};
Subject resnet32() { return {"resnet32", reference::resnet_cifar(32)}; }
Subject resnet34() { return {"resnet34", reference::resnet34()}; }

double difference(double actual, double expected) { return std::abs(actual - expected) / std::abs(expected); }

/// Compares norm, signed sum, first and last four elements of a tensor (in PyTorch's order) with row `index` of the
/// golden file; returns the largest difference, relative to the tensor's norm.
double digest_error(const Golden& golden, const std::string& prefix, std::size_t index, const std::vector<double>& x) {
  const std::vector<double> head = golden.row(prefix + "/head", index), tail = golden.row(prefix + "/tail", index);
  const double expected_norm = golden.values(prefix + "/norm").at(index);
  double square = 0, dot = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    square += x[i] * x[i];
    dot += signed_unit(3000 + index, i) >= 0 ? x[i] : -x[i];
  }
  double worst = std::abs(std::sqrt(square) - expected_norm);
  worst = std::max(worst, std::abs(dot - golden.values(prefix + "/dot").at(index)));
  for (std::size_t i = 0; i < 4; ++i) {
    worst = std::max(worst, std::abs(x.at(i) - head.at(i)));
    worst = std::max(worst, std::abs(x.at(x.size() - 4 + i) - tail.at(i)));
  }
  return std::isfinite(square + dot) ? worst / expected_norm : INFINITY;  // std::max would swallow a NaN
}

/// The loss of a training step, and all that its backward pass leaves.
struct Step {
  double loss;
  std::vector<float> gradients, statistics;
};
Step first_step(Device& device, ModelState& network, const FormulaBatch& batch) {
  Tape tape;
  Pass pass{.device = device, .training = true, .tape = &tape};
  network.begin_step();
  const DeviceArray<std::int32_t> labels(device, batch.labels);
  const Variable logits = network.forward(pass, make_variable(upload(device, batch.shape, batch.images), false));
  const ops::SampleScores scores = ops::softmax_cross_entropy(pass, logits, labels.data());
  const double loss = mean_loss(device, scores.losses);
  tape.backward();
  const ParameterLayout& layout = network.layout();
  return {.loss = loss,
          .gradients = device.download(network.gradients(), layout.parameter_floats()),
          .statistics = device.download(network.statistics(), layout.statistic_floats())};
}

/// Our network at the formula's weights: the first step's loss and every gradient against the reference's.
void check_backend(const Subject& subject, const std::string& prefix, const FormulaBatch& batch,
                   reference::ResNet& exact, double exact_loss) {
  Device device(test_device());
  const auto network = std::make_unique<ModelState>(device, make_architecture(subject.name, 100));
  reference::ResNet start = formula_network(subject.plan);
  network->load_state_dict(state_of(start));

  const auto [loss, gradients, statistics] = first_step(device, *network, batch);
  CHECK(difference(loss, exact_loss) <= 1e-5);

  const ParameterLayout& layout = network->layout();
  const auto nchw = subject.golden.values(prefix + "/error_nchw"), nhwc = subject.golden.values(prefix + "/error_nhwc");
  const auto parameters = exact.parameters();
  // A ReLU whose input rounding puts on the other side of 0 changes all gradients before it by up to a percent. Among
  // the few numbers of batch 4 PyTorch's layouts meet none in the last layers, another backend or another compiler's
  // flags may: so each tensor may be as far off as PyTorch's farthest there. Batch 32 has enough of them in every
  // layer.
  const bool few = batch.shape.n < 32;
  const double farthest = few ? std::max(*std::ranges::max_element(nchw), *std::ranges::max_element(nhwc)) : 0;
  std::size_t index = 0;
  double worst_error = 0, worst_ratio = 0;
  for (const ParameterSpec& spec : layout.specs()) {
    if (spec.role == Role::running_mean || spec.role == Role::running_var) continue;
    const reference::Parameter& p = *parameters.at(index);
    REQUIRE(spec.name == p.name);
    const auto begin = gradients.begin() + static_cast<std::ptrdiff_t>(spec.offset);
    const std::vector<float> ours(begin, begin + static_cast<std::ptrdiff_t>(spec.size));
    const double error = relative_error(ours, p.grad);
    const double of_torch = std::max({nchw.at(index), nhwc.at(index), farthest});
    CAPTURE(spec.name);
    CAPTURE(of_torch);
    CHECK(error <= std::max(4 * of_torch, 1e-4));
    worst_error = std::max(worst_error, error);
    worst_ratio = std::max(worst_ratio, error / of_torch);
    ++index;
  }
  CHECK(index == parameters.size());
  MESSAGE(device.description(), ", ", prefix, ": loss off by ", difference(loss, exact_loss), "; gradients by at most ",
          worst_error, ", which is at most ", worst_ratio, " times PyTorch's fp32 errors");
}

void check_first_step(const Subject& subject, std::uint64_t step, int count) {
  const Golden& golden = subject.golden;
  const std::string prefix = fmt::format("batch{}", count);
  const FormulaBatch batch = subject.batch(step, count);
  reference::ResNet exact = formula_network(subject.plan);
  const double loss = exact.loss_and_gradients(batch.shape, batch.images, batch.labels);
  CHECK(difference(loss, golden.value(prefix + "/loss")) <= float64_tolerance);
  double worst = 0;
  std::size_t index = 0;
  for (const reference::Parameter* p : exact.parameters()) {
    CAPTURE(p->name);
    const double error = digest_error(golden, prefix + "/grad", index++, torch_order(*p, p->grad));
    CHECK(error <= float64_tolerance);
    worst = std::max(worst, error);
  }
  MESSAGE(prefix, ": the reference and PyTorch float64 differ by ", difference(loss, golden.value(prefix + "/loss")),
          " in the loss, by at most ", worst, " in the gradients");
  check_backend(subject, prefix, batch, exact, loss);
}

TEST_CASE("resnet32: first step, batch 4: reference against PyTorch float64, backend against the reference") {
  check_first_step(resnet32(), 0, 4);
}

TEST_CASE("resnet32: first step, batch 32: reference against PyTorch float64, backend against the reference") {
  check_first_step(resnet32(), 100, 32);
}

TEST_CASE("resnet34: first step, batch 4: reference against PyTorch float64, backend against the reference") {
  check_first_step(resnet34(), 0, 4);
}

void check_steps(const Subject& subject) {
  const Golden& golden = subject.golden;
  const nlohmann::json& settings = subject.settings;
  REQUIRE(settings.at("nesterov") == true);
  reference::ResNet exact = formula_network(subject.plan);
  const std::vector<double> losses = golden.values("steps/loss");
  double worst_loss = 0;
  for (std::size_t step = 0; step < losses.size(); ++step) {
    const FormulaBatch batch = subject.batch(step, 4);
    const double loss = exact.loss_and_gradients(batch.shape, batch.images, batch.labels);
    exact.step(settings.at("lr"), settings.at("momentum"), settings.at("weight_decay"));
    CAPTURE(step);
    CHECK(difference(loss, losses[step]) <= float64_tolerance);
    worst_loss = std::max(worst_loss, difference(loss, losses[step]));
  }
  double worst = 0;
  std::size_t index = 0;
  const auto compare = [&](const std::string& name, const std::vector<double>& values) {
    CAPTURE(name);
    const double error = digest_error(golden, "steps", index++, values);
    CHECK(error <= float64_tolerance);
    worst = std::max(worst, error);
  };
  for (const reference::Parameter* p : exact.parameters()) compare(p->name, torch_order(*p, p->value));
  for (const reference::Buffer* b : exact.buffers()) compare(b->name, b->value);
  CHECK(index == golden.values("steps/norm").size());

  const FormulaBatch batch = subject.batch(0, 4);
  const double logits = relative_error(exact.forward(batch.shape, batch.images, false), golden.values("steps/logits"));
  CHECK(logits <= float64_tolerance);

  // The state that those steps leave, as weights of ours.
  Device device(test_device());
  const auto network = std::make_unique<ModelState>(device, make_architecture(subject.name, 100));
  network->load_state_dict(state_of(exact));
  Pass pass{.device = device};
  const Variable ours = network->forward(pass, make_variable(upload(device, batch.shape, batch.images), false));
  const double evaluated = relative_error(download(device, ours->value), golden.values("steps/logits"));
  CHECK(evaluated <= 1e-4);
  MESSAGE(losses.size(), " steps: losses within ", worst_loss, ", state within ", worst, ", logits within ", logits,
          ", ours in fp32 within ", evaluated);
}

TEST_CASE("resnet32: steps of the reference against PyTorch float64") { check_steps(resnet32()); }

TEST_CASE("resnet34: steps of the reference against PyTorch float64") { check_steps(resnet34()); }

TEST_CASE("resnet8 on small pictures: the tape's gradients against the reference's, to rounding") {
  // Few enough numbers that none lies so near to 0 that fp32 puts it on a ReLU's other side.
  Device device(test_device());
  const auto network = std::make_unique<ModelState>(device, make_resnet_cifar(8, 100));
  reference::ResNet exact = formula_network(reference::resnet_cifar(8));
  network->load_state_dict(state_of(exact));
  const FormulaBatch batch = formula_batch(7, 3, 12);

  const auto [loss, gradients, statistics] = first_step(device, *network, batch);
  CHECK(difference(loss, exact.loss_and_gradients(batch.shape, batch.images, batch.labels)) <= 1e-6);

  const ParameterLayout& layout = network->layout();
  const auto parameters = exact.parameters();
  const auto buffers = exact.buffers();
  std::size_t index = 0, buffer = 0;
  double worst = 0;
  for (const ParameterSpec& spec : layout.specs()) {
    const bool statistic = spec.role == Role::running_mean || spec.role == Role::running_var;
    REQUIRE(spec.name == (statistic ? buffers.at(buffer)->name : parameters.at(index)->name));
    const auto begin = (statistic ? statistics : gradients).begin() + static_cast<std::ptrdiff_t>(spec.offset);
    const std::vector<float> ours(begin, begin + static_cast<std::ptrdiff_t>(spec.size));
    CAPTURE(spec.name);
    const double error = relative_error(ours, statistic ? buffers[buffer++]->value : parameters[index++]->grad);
    CHECK(error <= 1e-5);
    worst = std::max(worst, error);
  }
  MESSAGE("resnet8: gradients and running statistics within ", worst);
}

TEST_CASE("resnet18: a training step has the same bits with 1, 2 and 3 threads") {
  const auto step = [](int threads) {
    Device device(test_device(threads));
    const auto network = std::make_unique<ModelState>(device, make_architecture("resnet18", 100));
    network->initialize({.seed = 1});
    return first_step(device, *network, formula_batch(0, 17, test_side()));  // whole chunks and a rest
  };
  const Step one = step(1);
  CHECK(std::isfinite(one.loss));
  for (const int threads : {2, 3}) {
    const Step again = step(threads);
    CHECK(again.loss == one.loss);
    CHECK(same_bits(again.gradients, one.gradients));
    CHECK(same_bits(again.statistics, one.statistics));
  }
}

TEST_CASE("the reference network's fast convolutions are those of reference/conv2d.h") {
  for (const kernels::Conv2dShape& s :
       {kernels::Conv2dShape{.n = 2, .h = 7, .w = 5, .c = 3, .out_c = 4, .kernel = 3, .stride = 1, .padding = 1},
        kernels::Conv2dShape{.n = 3, .h = 7, .w = 6, .c = 4, .out_c = 5, .kernel = 3, .stride = 2, .padding = 1},
        kernels::Conv2dShape{.n = 1, .h = 6, .w = 7, .c = 5, .out_c = 2, .kernel = 1, .stride = 2, .padding = 0},
        kernels::Conv2dShape{.n = 2, .h = 9, .w = 8, .c = 3, .out_c = 4, .kernel = 7, .stride = 2, .padding = 3}}) {
    const auto x = widened(random_floats(s.input().size(), 1)), w = widened(random_floats(s.weights(), 2));
    const auto dy = widened(random_floats(s.output().size(), 3));
    CHECK(relative_error(reference::fast::conv2d_forward(s, x, w), reference::conv2d_forward(s, x, w)) <= 1e-14);
    CHECK(relative_error(reference::fast::conv2d_backward_data(s, dy, w), reference::conv2d_backward_data(s, dy, w)) <=
          1e-14);
    CHECK(relative_error(reference::fast::conv2d_backward_weights(s, dy, x),
                         reference::conv2d_backward_weights(s, dy, x)) <= 1e-14);
  }
}

}  // namespace
}  // namespace nepenthe::tests
