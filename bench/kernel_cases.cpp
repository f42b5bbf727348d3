#include "bench/kernel_cases.h"

#include <cstdint>
#include <numeric>
#include <string>
#include <type_traits>

#include <fmt/core.h>

#include "kernels/batch_norm.h"
#include "kernels/bf16.h"
#include "kernels/conv2d.h"
#include "kernels/elementwise.h"
#include "kernels/gather.h"
#include "kernels/linear.h"
#include "kernels/optimizers.h"
#include "kernels/pool.h"
#include "kernels/softmax_cross_entropy.h"
#include "kernels/step_control.h"

namespace nepenthe::bench {
namespace {

using kernels::Accumulate;
using kernels::bf16;
using kernels::ImageShape;
using kernels::Precision;
using kernels::StepControl;

constexpr int classes = 100;
constexpr int head_width = 64;
constexpr std::size_t parameters = 472'756;  // of ResNet32 with 100 classes

std::string text(const ImageShape& s) { return fmt::format("{}x{}x{}x{}", s.n, s.h, s.w, s.c); }

double number(std::size_t bytes) { return static_cast<double>(bytes); }

/// What the cases have in common.
template <class T>
struct Cases {
  KernelBench& bench;
  kernels::CudaExec& exec;
  int batch;

  static constexpr std::size_t element = sizeof(T);

  Products convolution_products() const {
    if (std::is_same_v<T, bf16>) return Products::bf16;
    return exec.precision() == Precision::fp32 ? Products::fp32 : Products::tf32;
  }
  Products head_products() const { return exec.precision() == Precision::fp32 ? Products::fp32 : Products::tf32; }

  void gather() {
    const ImageShape shape{batch, 32, 32, 3};
    const std::size_t values = shape.size();
    bench.run({.op = "gather, augmented",
               .shape = text(shape),
               .bytes = number(values * (1 + element) + std::size_t(batch) * 12),
               .bind = [=, this](Operands& memory) {
                 T* images = memory.take<T>(values);
                 auto* batch_labels = memory.take<std::int32_t>(std::size_t(batch));
                 const auto* bytes = memory.take<std::uint8_t>(values);
                 std::vector<std::int32_t> ids(static_cast<std::size_t>(batch));
                 std::iota(ids.rbegin(), ids.rend(), 0);
                 const std::int32_t *labels = memory.take(ids), *order = memory.take(ids);
                 const StepControl* control = memory.take(std::vector<StepControl>(1));
                 return [=, this] {
                   kernels::gather(exec, shape, images, batch_labels, bytes, labels, order, control,
                                   {.mean = {0.5f, 0.5f, 0.5f}, .std = {0.25f, 0.25f, 0.25f}}, kernels::Augmentation{});
                 };
               }});
  }

  void batch_norm(const ImageShape& image, bool add, bool relu) {
    const kernels::BatchNormShape shape{.image = image, .add = add, .relu = relu};
    const std::size_t values = image.size(), c = static_cast<std::size_t>(image.c);
    const std::string fused = add && relu ? " + residual, ReLU" : relu ? " + ReLU" : "";
    const double tensor = number(values * element);
    bench.run({.op = "batch_norm forward" + fused,
               .shape = text(image),
               .bytes = tensor * (add ? 3 : 2),
               .bind = [=, this](Operands& memory) {
                 T *y = memory.take<T>(values), *x = memory.take<T>(values);
                 const T* residual = add ? memory.take<T>(values) : nullptr;
                 float* of_channels = memory.take<float>(6 * c);
                 return [=, this] {
                   float* p = of_channels;
                   kernels::batch_norm_forward<T>(exec, shape, y, p, p + c, p + 2 * c, p + 3 * c, x, residual,
                                                  p + 4 * c, p + 5 * c);
                 };
               }});
    bench.run({.op = "batch_norm inference" + fused,
               .shape = text(image),
               .bytes = tensor * (add ? 3 : 2),
               .bind = [=, this](Operands& memory) {
                 T *y = memory.take<T>(values), *x = memory.take<T>(values);
                 const T* residual = add ? memory.take<T>(values) : nullptr;
                 const float* p = memory.take(std::vector<float>(4 * c, 1.0f));
                 return [=, this] {
                   kernels::batch_norm_inference<T>(exec, shape, y, x, residual, p, p + c, p + 2 * c, p + 3 * c);
                 };
               }});
    // Backward reads dy and x, and with a residual y for the ReLU's mask; it writes dx and the residual's gradient.
    bench.run({.op = "batch_norm backward" + fused,
               .shape = text(image),
               .bytes = tensor * (3 + (add ? 1 : 0) + (add && relu ? 1 : 0)),
               .bind = [=, this](Operands& memory) {
                 T *dx = memory.take<T>(values), *dy = memory.take<T>(values), *x = memory.take<T>(values);
                 T *y = memory.take<T>(values), *dresidual = add ? memory.take<T>(values) : nullptr;
                 float* of_channels = memory.take<float>(6 * c);
                 return [=, this] {
                   float* p = of_channels;
                   kernels::batch_norm_backward<T>(exec, shape, dx, dresidual, Accumulate::assign, p, p + c,
                                                   Accumulate::assign, dy, x, y, p + 2 * c, p + 3 * c, p + 4 * c,
                                                   p + 5 * c);
                 };
               }});
  }

  void pool(const ImageShape& image) {
    const std::size_t values = image.size(), rows = std::size_t(image.n) * image.c;
    const double bytes = number(values * element + rows * sizeof(float));
    bench.run(
        {.op = "global_avg_pool forward", .shape = text(image), .bytes = bytes, .bind = [=, this](Operands& memory) {
           float* y = memory.take<float>(rows);
           const T* x = memory.take<T>(values);
           return [=, this] { kernels::global_avg_pool_forward<T>(exec, image, y, x); };
         }});
    bench.run(
        {.op = "global_avg_pool backward", .shape = text(image), .bytes = bytes, .bind = [=, this](Operands& memory) {
           T* dx = memory.take<T>(values);
           const float* dy = memory.take<float>(rows);
           return [=, this] { kernels::global_avg_pool_backward<T>(exec, image, dx, Accumulate::assign, dy); };
         }});
  }

  void softmax() {
    const kernels::LogitsShape shape{batch, classes};
    const std::size_t rows = static_cast<std::size_t>(batch), values = rows * classes;
    const std::string size = fmt::format("{}x{}", batch, classes);
    const std::vector<std::int32_t> labels(rows, classes / 2);
    bench.run({.op = "softmax_cross_entropy forward",
               .shape = size,
               .bytes = number(values * 4 + rows * 12),
               .bind = [=, this](Operands& memory) {
                 float *losses = memory.take<float>(rows), *logits = memory.take<float>(values);
                 auto* ranks = memory.take<std::int32_t>(rows);
                 const std::int32_t* true_ones = memory.take(labels);
                 return [=, this] {
                   kernels::softmax_cross_entropy_forward(exec, shape, losses, ranks, logits, true_ones);
                 };
               }});
    bench.run({.op = "softmax_cross_entropy backward",
               .shape = size,
               .bytes = number(values * 8 + rows * 4),
               .bind = [=, this](Operands& memory) {
                 float *dlogits = memory.take<float>(values), *logits = memory.take<float>(values);
                 const std::int32_t* true_ones = memory.take(labels);
                 return [=, this] {
                   kernels::softmax_cross_entropy_backward(exec, shape, dlogits, logits, true_ones, 0.01f);
                 };
               }});
    bench.run({.op = "tally_batch",
               .shape = fmt::format("{}", batch),
               .bytes = number(rows * 8),
               .bind = [=, this](Operands& memory) {
                 StepControl* control = memory.take(std::vector<StepControl>(1));
                 const float* losses = memory.take<float>(rows);
                 const std::int32_t* ranks = memory.take(labels);
                 return [=, this] { kernels::tally_batch(exec, control, batch, losses, ranks); };
               }});
  }

  void optimizers() {
    const std::vector<StepControl> begun{{.learning_rates = {1e-3f, 1e-3f}, .steps = 2}};
    const std::string size = fmt::format("{}", parameters);
    bench.run({.op = "sgd_step, momentum",
               .shape = size,
               .bytes = number(parameters * 4 * 5),
               .bind = [=, this](Operands& memory) {
                 float *w = memory.take<float>(parameters), *v = memory.take<float>(parameters);
                 const float* gradient = memory.take<float>(parameters);
                 const StepControl* control = memory.take(begun);
                 return [=, this] {
                   const kernels::Segment all{0, parameters};
                   kernels::sgd_step(exec, {&all, 1}, control, w, v, gradient, {.weight_decay = 5e-4f});
                 };
               }});
    bench.run(
        {.op = "adam_step", .shape = size, .bytes = number(parameters * 4 * 7), .bind = [=, this](Operands& memory) {
           float *w = memory.take<float>(parameters), *m = memory.take<float>(parameters);
           float* v = memory.take(std::vector<float>(parameters, 1.0f));
           const float* gradient = memory.take<float>(parameters);
           const StepControl* control = memory.take(begun);
           return [=, this] {
             const kernels::Segment all{0, parameters};
             kernels::adam_step(exec, {&all, 1}, control, w, m, v, gradient, {});
           };
         }});
  }

  void elementwise(const ImageShape& image) {
    const std::size_t values = image.size();
    bench.run(
        {.op = "add", .shape = text(image), .bytes = number(values * element * 3), .bind = [=, this](Operands& memory) {
           T *y = memory.take<T>(values), *x = memory.take<T>(values);
           return [=, this] { kernels::add<T>(exec, values, y, x); };
         }});
  }

  void casts() {
    const std::string size = fmt::format("{}", parameters);
    const double bytes = number(parameters * 6);
    bench.run({.op = "cast fp32 to bf16", .shape = size, .bytes = bytes, .bind = [=, this](Operands& memory) {
                 bf16* y = memory.take<bf16>(parameters);
                 const float* x = memory.take<float>(parameters);
                 return [=, this] { kernels::cast(exec, parameters, y, x); };
               }});
    bench.run({.op = "cast bf16 to fp32", .shape = size, .bytes = bytes, .bind = [=, this](Operands& memory) {
                 float* y = memory.take<float>(parameters);
                 const bf16* x = memory.take<bf16>(parameters);
                 return [=, this] { kernels::cast(exec, parameters, y, Accumulate::assign, x); };
               }});
  }

  void conv2d(const kernels::Conv2dShape& shape, bool with_data_gradient) {
    const std::size_t x_size = shape.input().size(), y_size = shape.output().size(), w_size = shape.weights();
    const std::string size = fmt::format("{} to {}, {}x{}, stride {}", text(shape.input()), shape.out_c, shape.kernel,
                                         shape.kernel, shape.stride);
    const double operations = 2.0 * static_cast<double>(y_size) * shape.kernel * shape.kernel * shape.c;
    const double activations = number((x_size + y_size) * element);
    const Products products = convolution_products();
    bench.run({.op = "conv2d forward",
               .shape = size,
               .bytes = activations + number(w_size * element),
               .operations = operations,
               .products = products,
               .bind = [=, this](Operands& memory) {
                 T *y = memory.take<T>(y_size), *x = memory.take<T>(x_size), *w = memory.take<T>(w_size);
                 return [=, this] { kernels::conv2d_forward<T>(exec, shape, y, x, w); };
               }});
    if (with_data_gradient) {
      bench.run({.op = "conv2d backward data",
                 .shape = size,
                 .bytes = activations + number(w_size * element),
                 .operations = operations,
                 .products = products,
                 .bind = [=, this](Operands& memory) {
                   T *dx = memory.take<T>(x_size), *dy = memory.take<T>(y_size), *w = memory.take<T>(w_size);
                   return [=, this] { kernels::conv2d_backward_data<T>(exec, shape, dx, Accumulate::assign, dy, w); };
                 }});
    }
    bench.run({.op = "conv2d backward weights",
               .shape = size,
               .bytes = activations + number(w_size * sizeof(float)),
               .operations = operations,
               .products = products,
               .bind = [=, this](Operands& memory) {
                 float* dw = memory.take<float>(w_size);
                 const T *dy = memory.take<T>(y_size), *x = memory.take<T>(x_size);
                 return [=, this] { kernels::conv2d_backward_weights<T>(exec, shape, dw, Accumulate::assign, dy, x); };
               }});
  }

  void linear() {
    const kernels::LinearShape shape{batch, head_width, classes};
    const std::size_t x_size = std::size_t(batch) * head_width, y_size = std::size_t(batch) * classes;
    const std::size_t w_size = std::size_t{classes} * head_width;
    const std::string size = fmt::format("{}x{} to {}", batch, head_width, classes);
    const double operations = 2.0 * batch * head_width * classes;
    const double bytes = number((x_size + y_size + w_size) * 4);
    const auto run = [&](const std::string& op, double all_bytes, const auto& issue) {
      bench.run({.op = op,
                 .shape = size,
                 .bytes = all_bytes,
                 .operations = operations,
                 .products = head_products(),
                 .bind = [=](Operands& memory) {
                   float *x = memory.take<float>(x_size), *y = memory.take<float>(y_size);
                   float *w = memory.take<float>(w_size), *b = memory.take<float>(classes);
                   return [=] { issue(x, y, w, b); };
                 }});
    };
    run("linear forward", bytes + classes * 4,
        [=, this](float* x, float* y, float* w, float* b) { kernels::linear_forward(exec, shape, y, x, w, b); });
    run("linear backward data", bytes, [=, this](float* dx, float* dy, float* w, float*) {
      kernels::linear_backward_data(exec, shape, dx, Accumulate::assign, dy, w);
    });
    run("linear backward weights", bytes + classes * 4, [=, this](float* x, float* dy, float* dw, float* db) {
      kernels::linear_backward_weights(exec, shape, dw, db, Accumulate::assign, dy, x);
    });
  }
};

}  // namespace

std::vector<ImageShape> stages(int batch) { return {{batch, 32, 32, 16}, {batch, 16, 16, 32}, {batch, 8, 8, 64}}; }

template <class T>
void run_kernels(KernelBench& bench, int batch) {
  Cases<T> cases{.bench = bench, .exec = bench.exec(), .batch = batch};
  const std::vector<ImageShape> images = stages(batch);
  cases.gather();
  cases.conv2d({batch, 32, 32, 3, 16, 3, 1, 1}, false);  // the stem: nothing asks for the pictures' gradient
  for (std::size_t i = 0; i < images.size(); ++i) {
    const ImageShape& s = images[i];
    if (i > 0) {
      const ImageShape& before = images[i - 1];
      cases.conv2d({batch, before.h, before.w, before.c, s.c, 3, 2, 1}, true);
      cases.conv2d({batch, before.h, before.w, before.c, s.c, 1, 2, 0}, true);
    }
    cases.conv2d({batch, s.h, s.w, s.c, s.c, 3, 1, 1}, true);
  }
  for (const ImageShape& image : images) {
    cases.batch_norm(image, false, false);
    cases.batch_norm(image, false, true);
    cases.batch_norm(image, true, true);
    cases.elementwise(image);
  }
  cases.pool(images.back());
  cases.linear();
  cases.softmax();
  cases.optimizers();
  cases.casts();
}

template void run_kernels<float>(KernelBench&, int);
template void run_kernels<bf16>(KernelBench&, int);

}  // namespace nepenthe::bench
