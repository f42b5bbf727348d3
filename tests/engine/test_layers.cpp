// Layers against PyTorch's float64: ours in fp32 through ops and tape, and the references in double.
#include "engine/layers.h"

#include "engine/ops/pool.h"
#include "engine/ops/softmax_cross_entropy.h"
#include "golden.h"
#include "kernels/softmax_cross_entropy.h"
#include "reference/batch_norm.h"
#include "reference/conv2d.h"
#include "reference/linear.h"
#include "reference/pool.h"
#include "reference/softmax_cross_entropy.h"

namespace nepenthe::tests {
namespace {

constexpr double float64_tolerance = 1e-12;

const Golden& golden() {
  static const Golden file("layers.safetensors");
  return file;
}

/// One layer in a device of its own.
struct Bench {
  Device device{test_device()};
  ParameterLayout layout;
  std::optional<Parameters> parameters;
  Tape tape;

  void put(int index, const std::vector<double>& values) {
    if (!parameters) parameters.emplace(device, layout);
    REQUIRE(values.size() == layout.specs()[std::size_t(index)].size);
    device.upload(parameters->value(index), narrowed(values).data(), values.size());
  }
  std::vector<float> gradient(int index) {
    const ParameterSpec& spec = layout.specs()[std::size_t(index)];
    return device.download(parameters->gradients() + spec.offset, spec.size);
  }
  std::vector<float> value(int index) {
    return device.download(parameters->value(index), layout.specs()[std::size_t(index)].size);
  }
  Pass pass(bool training) { return {.device = device, .training = training, .tape = training ? &tape : nullptr}; }
  void backward(const Variable& y, const std::vector<double>& dy) {
    y->grad = upload(device, y->value.shape(), dy);
    tape.backward();
  }
};

TEST_CASE("layers: conv2d") {
  struct Case {
    std::string name;
    int kernel, stride;
  };
  for (const auto& [name, kernel, stride] :
       {Case{"conv_3x3_s1", 3, 1}, Case{"conv_3x3_s2", 3, 2}, Case{"conv_1x1_s2", 1, 2}, Case{"conv_7x7_s2", 7, 2}}) {
    CAPTURE(name);
    const ImageShape in = golden().image_shape(name + "/x"), out = golden().image_shape(name + "/y");
    const auto x = golden().channels_last(name + "/x"), w = golden().channels_last(name + "/w");
    const auto y = golden().channels_last(name + "/y"), dy = golden().channels_last(name + "/dy");
    const auto dx = golden().channels_last(name + "/dx"), dw = golden().channels_last(name + "/dw");

    const kernels::Conv2dShape shape{.n = in.n,
                                     .h = in.h,
                                     .w = in.w,
                                     .c = in.c,
                                     .out_c = out.c,
                                     .kernel = kernel,
                                     .stride = stride,
                                     .padding = kernel / 2};
    REQUIRE(shape.output() == out);
    CHECK(relative_error(reference::conv2d_forward(shape, x, w), y) <= float64_tolerance);
    CHECK(relative_error(reference::conv2d_backward_data(shape, dy, w), dx) <= float64_tolerance);
    CHECK(relative_error(reference::conv2d_backward_weights(shape, dy, x), dw) <= float64_tolerance);

    Bench bench;
    const Conv2d conv(bench.layout, "conv", in.c, out.c, kernel, stride);
    bench.put(0, w);
    Pass pass = bench.pass(true);
    const Variable input = make_variable(upload(bench.device, in, x));
    const Variable output = conv(pass, *bench.parameters, input);
    bench.backward(output, dy);
    CHECK(relative_error(download(bench.device, output->value), y) <= fp32_tolerance);
    CHECK(relative_error(download(bench.device, input->grad), dx) <= fp32_tolerance);
    CHECK(relative_error(bench.gradient(0), dw) <= fp32_tolerance);
    int side = 9;  // as all inputs are wide
    CHECK(conv.multiply_adds(side) == std::int64_t{out.w} * out.w * kernel * kernel * in.c * out.c);
    CHECK(side == out.w);
  }
}

TEST_CASE("layers: batch norm, training") {
  const std::string name = "batch_norm_train";
  const ImageShape image = golden().image_shape(name + "/x");
  const auto of = [&](const char* what) { return golden().values(name + "/" + what); };
  const auto x = golden().channels_last(name + "/x"), y = golden().channels_last(name + "/y");
  const auto dy = golden().channels_last(name + "/dy"), dx = golden().channels_last(name + "/dx");

  const kernels::BatchNormShape shape{.image = image};
  const auto out = reference::batch_norm_forward(shape, x, {}, of("weight"), of("bias"));
  CHECK(relative_error(out.y, y) <= float64_tolerance);
  CHECK(relative_error(out.mean, of("mean")) <= float64_tolerance);
  CHECK(relative_error(out.var, of("var")) <= float64_tolerance);
  const auto g = reference::batch_norm_backward(shape, dy, x, out.y, of("weight"), out.mean, out.rstd);
  CHECK(relative_error(g.dx, dx) <= float64_tolerance);
  CHECK(relative_error(g.dgamma, of("dweight")) <= float64_tolerance);
  CHECK(relative_error(g.dbeta, of("dbias")) <= float64_tolerance);

  Bench bench;
  const BatchNorm2d norm(bench.layout, "bn", image.c);
  for (const auto& [index, what] : {std::pair{0, "weight"}, {1, "bias"}, {2, "running_mean"}, {3, "running_var"}}) {
    bench.put(index, of(what));
  }
  Pass pass = bench.pass(true);
  const Variable input = make_variable(upload(bench.device, image, x));
  const Variable output = norm(pass, *bench.parameters, input, false);
  bench.backward(output, dy);
  CHECK(relative_error(download(bench.device, output->value), y) <= fp32_tolerance);
  CHECK(relative_error(download(bench.device, input->grad), dx) <= fp32_tolerance);
  CHECK(relative_error(bench.gradient(0), of("dweight")) <= fp32_tolerance);
  CHECK(relative_error(bench.gradient(1), of("dbias")) <= fp32_tolerance);
  CHECK(relative_error(bench.value(2), of("new_running_mean")) <= fp32_tolerance);
  CHECK(relative_error(bench.value(3), of("new_running_var")) <= fp32_tolerance);
}

TEST_CASE("layers: batch norm, evaluation") {
  const std::string name = "batch_norm_eval";
  const ImageShape image = golden().image_shape(name + "/x");
  const auto of = [&](const char* what) { return golden().values(name + "/" + what); };
  const auto x = golden().channels_last(name + "/x"), y = golden().channels_last(name + "/y");

  std::vector<double> rstd;
  const kernels::BatchNormShape shape{.image = image};
  for (const double v : of("running_var")) rstd.push_back(1 / std::sqrt(v + double{shape.eps}));
  CHECK(relative_error(reference::batch_norm_apply(shape, x, {}, of("weight"), of("bias"), of("running_mean"), rstd),
                       y) <= float64_tolerance);

  Bench bench;
  const BatchNorm2d norm(bench.layout, "bn", image.c);
  for (const auto& [index, what] : {std::pair{0, "weight"}, {1, "bias"}, {2, "running_mean"}, {3, "running_var"}}) {
    bench.put(index, of(what));
  }
  Pass pass = bench.pass(false);
  const Variable output = norm(pass, *bench.parameters, make_variable(upload(bench.device, image, x)), false);
  CHECK(relative_error(download(bench.device, output->value), y) <= fp32_tolerance);
  CHECK(same_bits(bench.value(2), narrowed(of("running_mean"))));  // which stay as they are
  CHECK(same_bits(bench.value(3), narrowed(of("running_var"))));
}

TEST_CASE("layers: linear") {
  const auto of = [&](const char* what) { return golden().values(std::string("linear/") + what); };
  const kernels::LinearShape shape{.rows = 5, .in = 7, .out = 3};
  CHECK(relative_error(reference::linear_forward(shape, of("x"), of("w"), of("b")), of("y")) <= float64_tolerance);
  CHECK(relative_error(reference::linear_backward_data(shape, of("dy"), of("w")), of("dx")) <= float64_tolerance);
  const auto g = reference::linear_backward_weights(shape, of("dy"), of("x"));
  CHECK(relative_error(g.dw, of("dw")) <= float64_tolerance);
  CHECK(relative_error(g.db, of("db")) <= float64_tolerance);

  Bench bench;
  const Linear linear(bench.layout, "fc", 7, 3, ParameterGroup::head);
  bench.put(0, of("w"));
  bench.put(1, of("b"));
  Pass pass = bench.pass(true);
  const Variable input = make_variable(upload(bench.device, {5, 1, 1, 7}, of("x")));
  const Variable output = linear(pass, *bench.parameters, input);
  bench.backward(output, of("dy"));
  CHECK(relative_error(download(bench.device, output->value), of("y")) <= fp32_tolerance);
  CHECK(relative_error(download(bench.device, input->grad), of("dx")) <= fp32_tolerance);
  CHECK(relative_error(bench.gradient(0), of("dw")) <= fp32_tolerance);
  CHECK(relative_error(bench.gradient(1), of("db")) <= fp32_tolerance);
}

TEST_CASE("layers: softmax and cross entropy") {
  for (const std::string name : {"cross_entropy", "cross_entropy_large"}) {
    CAPTURE(name);
    const auto of = [&](const char* what) { return golden().values(name + "/" + what); };
    const auto labels = golden().labels(name + "/labels");
    const kernels::LogitsShape shape{.rows = 6, .classes = 10};
    // The reference takes the logarithm of a probability, which is 0 where logits are hundreds apart.
    if (name == "cross_entropy") {
      CHECK(relative_error(reference::softmax_cross_entropy_forward(shape, of("logits"), labels), of("per_sample")) <=
            float64_tolerance);
    }
    CHECK(relative_error(reference::softmax_cross_entropy_backward(shape, of("logits"), labels, 1.0 / 6),
                         of("dlogits")) <= float64_tolerance);

    Bench bench;
    Pass pass = bench.pass(true);
    const Variable logits = make_variable(upload(bench.device, {6, 1, 1, 10}, of("logits")));
    const DeviceArray<std::int32_t> device_labels(bench.device, labels);
    const ops::SampleScores scores = ops::softmax_cross_entropy(pass, logits, device_labels.data());
    bench.tape.backward();
    CHECK(relative_error(std::vector<double>{mean_loss(bench.device, scores.losses)}, of("loss")) <= fp32_tolerance);
    CHECK(relative_error(download(bench.device, logits->grad), of("dlogits")) <= fp32_tolerance);
    CHECK(relative_error(download(bench.device, scores.losses), of("per_sample")) <= fp32_tolerance);
  }
}

TEST_CASE("layers: global average pool") {
  const std::string name = "global_average_pool";
  const ImageShape image = golden().image_shape(name + "/x");
  const auto x = golden().channels_last(name + "/x"), dx = golden().channels_last(name + "/dx");
  const auto y = golden().values(name + "/y"), dy = golden().values(name + "/dy");
  CHECK(relative_error(reference::global_avg_pool_forward(image, x), y) <= float64_tolerance);
  CHECK(relative_error(reference::global_avg_pool_backward(image, dy), dx) <= float64_tolerance);

  Bench bench;
  Pass pass = bench.pass(true);
  const Variable input = make_variable(upload(bench.device, image, x));
  const Variable output = ops::global_avg_pool(pass, input);
  bench.backward(output, dy);
  CHECK(relative_error(download(bench.device, output->value), y) <= fp32_tolerance);
  CHECK(relative_error(download(bench.device, input->grad), dx) <= fp32_tolerance);
}

TEST_CASE("layers: max pool") {
  const std::string name = "max_pool";
  const ImageShape in = golden().image_shape(name + "/x"), out = golden().image_shape(name + "/y");
  const auto x = golden().channels_last(name + "/x"), y = golden().channels_last(name + "/y");
  const auto dy = golden().channels_last(name + "/dy"), dx = golden().channels_last(name + "/dx");
  const kernels::PoolShape shape{.n = in.n, .h = in.h, .w = in.w, .c = in.c, .kernel = 3, .stride = 2, .padding = 1};
  REQUIRE(shape.output() == out);
  CHECK(relative_error(reference::max_pool_forward(shape, x), y) <= float64_tolerance);
  CHECK(relative_error(reference::max_pool_backward(shape, x, dy), dx) <= float64_tolerance);

  Bench bench;
  Pass pass = bench.pass(true), evaluation = bench.pass(false);
  const Variable input = make_variable(upload(bench.device, in, x));
  const Variable output = ops::max_pool(pass, input, 3, 2, 1);
  const Variable evaluated = ops::max_pool(evaluation, input, 3, 2, 1);
  bench.backward(output, dy);
  CHECK(same_bits(download(bench.device, output->value), narrowed(y)));  // nothing is computed
  CHECK(same_bits(download(bench.device, evaluated->value), narrowed(y)));
  CHECK(relative_error(download(bench.device, input->grad), dx) <= fp32_tolerance);
}

}  // namespace
}  // namespace nepenthe::tests
