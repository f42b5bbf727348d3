// The tape: order, lifetimes, gradients that add up where a value or a parameter is used more than once.
#include "engine/tape.h"

#include <algorithm>
#include <stdexcept>

#include "engine/layers.h"
#include "engine/ops/pool.h"
#include "engine/ops/softmax_cross_entropy.h"
#include "engine/optimizer.h"
#include "golden.h"
#include "reference/batch_norm.h"
#include "reference/conv2d.h"
#include "reference/linear.h"
#include "reference/pool.h"
#include "reference/softmax_cross_entropy.h"
#include "small_network.h"

namespace nepenthe::tests {
namespace {

using Doubles = std::vector<double>;

TEST_CASE("tape: last recorded first, once, and what a step kept is free when it is done") {
  Tape tape;
  std::vector<int> order;
  const auto kept = std::make_shared<int>(7);
  for (int i = 0; i < 3; ++i) {
    tape.push([&order, &kept, i, copy = kept] {
      order.push_back(i);
      CHECK(kept.use_count() == i + 2);  // the steps behind this one have let go
    });
  }
  CHECK(kept.use_count() == 4);
  tape.backward();
  CHECK(order == std::vector<int>{2, 1, 0});
  CHECK(kept.use_count() == 1);
  tape.backward();
  CHECK(order.size() == 3);
}

TEST_CASE("tape: gradient slots assign first and add then; a sole gradient comes once") {
  Device device(test_device());
  const Variable x = make_variable(Tensor(device, {1, 2, 2, 3}));
  const GradientSlot first = gradient_slot(device, *x), second = gradient_slot(device, *x);
  CHECK(first.accumulate == Accumulate::assign);
  CHECK(second.accumulate == Accumulate::add);
  CHECK(first.tensor.data() == second.tensor.data());
  CHECK(x->grad.shape() == x->value.shape());
  CHECK_THROWS_AS(sole_gradient(device, *x), std::logic_error);
  const Variable y = make_variable(Tensor(device, {1, 1, 1, 1}));
  const Tensor sole = sole_gradient(device, *y);
  CHECK(sole.data() != nullptr);
  CHECK(sole.data() == y->grad.data());
}

/// A net in which a value has three users (two convolutions and a residual), a filter two, and the input none:
///   a = relu(norm1(stem(x))), b = relu(norm2(conv(a))), c = relu(norm3(conv(b) with the same filters) + a),
///   d = norm4(side(a)) + c, loss = cross entropy(fc(mean(d)))
struct Net {
  static constexpr int classes = 5, channels = 16;
  ParameterLayout layout;
  Conv2d stem{layout, "stem", 3, channels, 3, 1}, conv{layout, "conv", channels, channels, 3, 1},
      side{layout, "side", channels, channels, 1, 1};
  BatchNorm2d norm1{layout, "norm1", channels}, norm2{layout, "norm2", channels}, norm3{layout, "norm3", channels},
      norm4{layout, "norm4", channels};
  Linear fc{layout, "fc", channels, classes, ParameterGroup::head};

  Variable forward(Pass& pass, Parameters& parameters, const Variable& x) const {
    const Variable a = norm1(pass, parameters, stem(pass, parameters, x), true);
    const Variable b = norm2(pass, parameters, conv(pass, parameters, a), true);
    const Variable c = norm3(pass, parameters, conv(pass, parameters, b), true, a);
    const Variable d = norm4(pass, parameters, side(pass, parameters, a), false, c);
    return fc(pass, parameters, ops::global_avg_pool(pass, d));
  }
};

/// The same in double.
struct ReferenceNet {
  const Parameters& parameters;
  ImageShape input;
  std::map<std::string, Doubles> gradients;

  Doubles tensor(const std::string& name) const {
    for (const ParameterSpec& spec : parameters.layout().specs()) {
      if (spec.name != name) continue;
      return widened(parameters.device().download(parameters.values() + spec.offset, spec.size));
    }
    FAIL("no tensor ", name);
    return {};
  }
  void add(const std::string& name, const Doubles& gradient) {
    Doubles& sum = gradients[name];
    sum.resize(gradient.size());
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += gradient[i];
  }
  struct Norm {
    kernels::BatchNormShape shape;
    reference::BatchNormOutputs<double> out;
  };
  Norm norm(const std::string& name, const ImageShape& shape, const Doubles& x, bool relu,
            const Doubles* residual) const {
    const kernels::BatchNormShape s{.image = shape, .add = residual != nullptr, .relu = relu};
    return {s, reference::batch_norm_forward(s, x, residual ? *residual : Doubles(), tensor(name + ".weight"),
                                             tensor(name + ".bias"))};
  }
  reference::BatchNormGradients<double> norm_backward(const std::string& name, const Norm& n, const Doubles& dy,
                                                      const Doubles& x) {
    auto g = reference::batch_norm_backward(n.shape, dy, x, n.out.y, tensor(name + ".weight"), n.out.mean, n.out.rstd);
    add(name + ".weight", g.dgamma);
    add(name + ".bias", g.dbeta);
    return g;
  }

  double loss_and_gradients(const Doubles& x, const std::vector<std::int32_t>& labels) {
    constexpr int c = Net::channels;
    const ImageShape inner{input.n, input.h, input.w, c};
    const kernels::Conv2dShape stem{input.n, input.h, input.w, 3, c, 3, 1, 1},
        conv{input.n, input.h, input.w, c, c, 3, 1, 1}, side{input.n, input.h, input.w, c, c, 1, 1, 0};
    const Doubles w_stem = tensor("stem.weight"), w = tensor("conv.weight"), w_side = tensor("side.weight");
    const Doubles x1 = reference::conv2d_forward(stem, x, w_stem);
    const Norm a = norm("norm1", inner, x1, true, nullptr);
    const Doubles x2 = reference::conv2d_forward(conv, a.out.y, w);
    const Norm b = norm("norm2", inner, x2, true, nullptr);
    const Doubles x3 = reference::conv2d_forward(conv, b.out.y, w);
    const Norm sum = norm("norm3", inner, x3, true, &a.out.y);
    const Doubles x4 = reference::conv2d_forward(side, a.out.y, w_side);
    const Norm d = norm("norm4", inner, x4, false, &sum.out.y);
    const Doubles pooled = reference::global_avg_pool_forward(inner, d.out.y);
    const kernels::LinearShape fc{input.n, c, Net::classes};
    const Doubles logits = reference::linear_forward(fc, pooled, tensor("fc.weight"), tensor("fc.bias"));
    const kernels::LogitsShape shape{input.n, Net::classes};
    double loss = 0;
    for (const double each : reference::softmax_cross_entropy_forward(shape, logits, labels)) loss += each / input.n;

    const Doubles dlogits = reference::softmax_cross_entropy_backward(shape, logits, labels, 1.0 / input.n);
    const auto g_fc = reference::linear_backward_weights(fc, dlogits, pooled);
    add("fc.weight", g_fc.dw), add("fc.bias", g_fc.db);
    const Doubles dd =
        reference::global_avg_pool_backward(inner, reference::linear_backward_data(fc, dlogits, tensor("fc.weight")));
    const auto g4 = norm_backward("norm4", d, dd, x4);
    const auto g3 = norm_backward("norm3", sum, g4.dresidual, x3);
    add("conv.weight", reference::conv2d_backward_weights(conv, g3.dx, b.out.y));
    const auto g2 = norm_backward("norm2", b, reference::conv2d_backward_data(conv, g3.dx, w), x2);
    add("conv.weight", reference::conv2d_backward_weights(conv, g2.dx, a.out.y));
    add("side.weight", reference::conv2d_backward_weights(side, g4.dx, a.out.y));
    Doubles da = reference::conv2d_backward_data(conv, g2.dx, w);
    const Doubles da_side = reference::conv2d_backward_data(side, g4.dx, w_side);
    for (std::size_t i = 0; i < da.size(); ++i) da[i] += g3.dresidual[i] + da_side[i];
    const auto g1 = norm_backward("norm1", a, da, x1);
    add("stem.weight", reference::conv2d_backward_weights(stem, g1.dx, x));
    return loss;
  }
};

TEST_CASE("tape: a branching net with shared filters against the references") {
  Device device(test_device());
  const Net net;
  Parameters parameters(device, net.layout);
  parameters.initialize({.seed = 3});
  const ImageShape input{3, 6, 5, 3};
  const auto x = random_floats(input.size(), 50);
  const auto labels = random_labels(input.n, Net::classes, 51);
  const DeviceArray<std::int32_t> device_labels(device, labels);

  ReferenceNet expected{parameters, input, {}};
  const double expected_loss = expected.loss_and_gradients(widened(x), labels);

  std::vector<float> before_second;
  for (int turn = 0; turn < 2; ++turn) {  // twice: begin_step makes gradients start anew
    parameters.begin_step();
    Tape tape;
    Pass pass{.device = device, .training = true, .tape = &tape};
    const Variable images = make_variable(upload(device, input, x), false);
    const Variable logits = net.forward(pass, parameters, images);
    const ops::SampleScores scores = ops::softmax_cross_entropy(pass, logits, device_labels.data());
    const double loss = mean_loss(device, scores.losses);
    tape.backward();
    CHECK(std::abs(loss - expected_loss) <= 1e-6 * expected_loss);
    CHECK_FALSE(images->grad);  // inputs get no gradient

    const auto gradients = device.download(parameters.gradients(), parameters.layout().parameter_floats());
    for (const ParameterSpec& spec : parameters.layout().specs()) {
      if (spec.role == Role::running_mean || spec.role == Role::running_var) continue;
      const auto begin = gradients.begin() + static_cast<std::ptrdiff_t>(spec.offset);
      CAPTURE(spec.name);
      CHECK(relative_error(std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(spec.size)),
                           expected.gradients.at(spec.name)) <= fp32_tolerance);
    }
    if (turn == 1) CHECK(same_bits(gradients, before_second));
    before_second = gradients;
  }
}

Tensor upload_bf16(Device& device, const ImageShape& shape, const std::vector<float>& plain) {
  const Tensor tensor(device, shape, ElementType::bf16);
  const std::vector<float> laid_out =
      std::visit([&](const auto& exec) { return to_backend(exec, shape, plain); }, device.exec());
  std::vector<kernels::bf16> rounded;
  for (const float value : laid_out) rounded.push_back(kernels::to_bf16(value));
  device.upload(tensor.as<kernels::bf16>(), rounded.data(), rounded.size());
  return tensor;
}

/// What is left of a step of `passes` passes in bf16. Once gradients have been read, filters write theirs in fp32.
struct Left {
  std::vector<float> gradients, values;
};
template <class Forward>
Left step_in_bf16(const ParameterLayout& layout, const Forward& forward, int passes, bool read_before) {
  DeviceSettings settings = test_device();
  settings.precision = Precision::bf16;
  Device device(settings);
  const auto run = [&](bool read_behind) {
    Parameters parameters(device, layout);
    parameters.initialize({.seed = 3});
    Optimizer optimizer(parameters, {.lr = 0.1});
    parameters.begin_step();
    if (read_before) parameters.gradients();
    for (int i = 0; i < passes; ++i) {
      const ImageShape shape{3, 6, 5, 3};
      Tape tape;
      Pass pass{.device = device, .training = true, .tape = &tape};
      const DeviceArray<std::int32_t> labels(device, random_labels(shape.n, 5, 51));
      const Variable images = make_variable(
          upload_bf16(device, shape, random_floats(shape.size(), static_cast<std::uint32_t>(60 + i))), false);
      ops::softmax_cross_entropy(pass, forward(pass, parameters, images), labels.data());
      tape.backward();
    }
    const auto floats = layout.parameter_floats();
    if (read_behind) return device.download(parameters.gradients(), floats);
    const DeviceArray<kernels::StepControl> control(
        device, std::vector<kernels::StepControl>{{.learning_rates = {0.1f, 0.1f}, .steps = 1}});
    optimizer.step(control.data());
    const auto values = device.download(parameters.values(), floats);
    const auto rounded = device.download(parameters.rounded_values(), floats);
    CHECK(std::ranges::equal(rounded, values, {}, &kernels::bf16::bits,
                             [](float value) { return kernels::to_bf16(value).bits; }));
    return values;
  };
  return {run(true), run(false)};
}

TEST_CASE("tape: gradients that are bf16 on their way have the bits of those in fp32 throughout") {
  const Net shared;
  const SmallNetwork plain;
  const auto check = [](const ParameterLayout& layout, const auto& forward) {
    for (const int passes : {1, 2, 3}) {
      CAPTURE(passes);
      const Left wide = step_in_bf16(layout, forward, passes, true),
                 narrow = step_in_bf16(layout, forward, passes, false);
      CHECK(same_bits(narrow.gradients, wide.gradients));
      CHECK(same_bits(narrow.values, wide.values));
      CHECK(std::ranges::any_of(wide.gradients, [](float x) { return x != 0; }));
    }
  };
  check(shared.layout, [&](Pass& pass, Parameters& parameters, const Variable& images) {
    return shared.forward(pass, parameters, images);
  });
  check(plain.layout(), [&](Pass& pass, Parameters& parameters, const Variable& images) {
    return plain.classify(pass, parameters, plain.features(pass, parameters, images));
  });
}

TEST_CASE("tape: without one, and in evaluation mode, nothing is kept and nothing moves") {
  Device device(test_device());
  const Net net;
  Parameters parameters(device, net.layout);
  parameters.initialize({.seed = 3});
  const ImageShape input{2, 5, 5, 3};
  const Variable images = make_variable(upload(device, input, random_floats(input.size(), 52)), false);
  const std::size_t used = device.arena().used_bytes();
  const auto statistics = device.download(parameters.statistics(), parameters.layout().statistic_floats());
  {
    Pass pass{.device = device};
    const Variable logits = net.forward(pass, parameters, images);
    CHECK(device.arena().used_bytes() == used + 512);  // the logits alone
  }
  CHECK(device.arena().used_bytes() == used);
  CHECK(same_bits(statistics, device.download(parameters.statistics(), statistics.size())));

  // A recorded pass that is thrown away without a backward pass leaves nothing behind either.
  {
    Tape tape;
    Pass pass{.device = device, .training = true, .tape = &tape};
    net.forward(pass, parameters, images);
    CHECK(device.arena().used_bytes() > used + 512);
  }
  CHECK(device.arena().used_bytes() == used);
}

}  // namespace
}  // namespace nepenthe::tests
