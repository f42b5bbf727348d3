#include "bench/kernel_cases.h"

#include <cstdint>
#include <numeric>
#include <optional>
#include <string>
#include <type_traits>

#include <fmt/core.h>

#include "kernels/batch_norm.h"
#include "kernels/bf16.h"
#include "kernels/conv2d.h"
#include "kernels/distillation.h"
#include "kernels/elementwise.h"
#include "kernels/gather.h"
#include "kernels/linear.h"
#include "kernels/optimizers.h"
#include "kernels/pool.h"
#include "kernels/softmax_cross_entropy.h"
#include "kernels/step_control.h"
#include "tests/cases/batch_norm.h"
#include "tests/cases/conv2d.h"
#include "tests/cases/gather.h"
#include "tests/cases/linear.h"
#include "tests/cases/logits.h"
#include "tests/cases/optimizers.h"
#include "tests/cases/pool.h"

namespace nepenthe::bench {
namespace {

using kernels::Accumulate;
using kernels::bf16;
using kernels::ImageShape;
using kernels::Precision;
using kernels::StepControl;

constexpr std::size_t parameters = 472'756;  // of ResNet32 with 100 classes

std::string text(const ImageShape& s) { return fmt::format("{}x{}x{}x{}", s.n, s.h, s.w, s.c); }

double number(std::size_t bytes) { return static_cast<double>(bytes); }

/// What the cases have in common.
template <class T>
struct Cases {
  KernelBench& bench;
  kernels::CudaExec& exec;

  static constexpr std::size_t element = sizeof(T);

  Products convolution_products() const {
    if (std::is_same_v<T, bf16>) return Products::bf16;
    return exec.precision() == Precision::fp32 ? Products::fp32 : Products::tf32;
  }
  Products head_products() const { return exec.precision() == Precision::fp32 ? Products::fp32 : Products::tf32; }

  void gather(const cases::Gathering& gathering) {
    const ImageShape shape = gathering.shape;
    const int scale = gathering.scale;
    std::optional<kernels::Augmentation> augmentation;
    if (gathering.padding) augmentation = {.padding = *gathering.padding};
    const std::size_t values = shape.size();
    bench.run({.op = augmentation ? "gather, augmented" : "gather",
               .shape = text(shape),
               .bytes = number(values / scale / scale + values * element + std::size_t(shape.n) * 12),
               .bind = [=, this](Operands& memory) {
                 T* images = memory.take<T>(values);
                 auto* batch_labels = memory.take<std::int32_t>(std::size_t(shape.n));
                 const auto* bytes = memory.take<std::uint8_t>(values / scale / scale);
                 std::vector<std::int32_t> ids(static_cast<std::size_t>(shape.n));
                 std::iota(ids.rbegin(), ids.rend(), 0);
                 const std::int32_t *labels = memory.take(ids), *order = memory.take(ids);
                 const StepControl* control = memory.take(std::vector<StepControl>{{.order = order}});
                 return [=, this] {
                   kernels::gather<T>(exec, {.shape = shape,
                                             .scale = scale,
                                             .images = images,
                                             .batch_labels = batch_labels,
                                             .bytes = bytes,
                                             .labels = labels,
                                             .control = control,
                                             .augmentation = augmentation,
                                             .mean = {0.5f, 0.5f, 0.5f},
                                             .std = {0.25f, 0.25f, 0.25f}});
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
                   kernels::batch_norm_forward<T>(exec, {.shape = shape,
                                                         .y = y,
                                                         .mean = p,
                                                         .rstd = p + c,
                                                         .running_mean = p + 2 * c,
                                                         .running_var = p + 3 * c,
                                                         .x = x,
                                                         .residual = residual,
                                                         .gamma = p + 4 * c,
                                                         .beta = p + 5 * c});
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
                   kernels::batch_norm_inference<T>(exec, {.shape = shape,
                                                           .y = y,
                                                           .x = x,
                                                           .residual = residual,
                                                           .gamma = p,
                                                           .beta = p + c,
                                                           .mean = p + 2 * c,
                                                           .var = p + 3 * c});
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
                   kernels::batch_norm_backward<T>(exec, {.shape = shape,
                                                          .dx = dx,
                                                          .dresidual = dresidual,
                                                          .accumulate_residual = Accumulate::assign,
                                                          .dgamma = p,
                                                          .dbeta = p + c,
                                                          .accumulate = Accumulate::assign,
                                                          .dy = dy,
                                                          .x = x,
                                                          .y = y,
                                                          .gamma = p + 2 * c,
                                                          .beta = p + 3 * c,
                                                          .mean = p + 4 * c,
                                                          .rstd = p + 5 * c});
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
           return [=, this] { kernels::global_avg_pool_forward<T>(exec, {.shape = image, .y = y, .x = x}); };
         }});
    bench.run(
        {.op = "global_avg_pool backward", .shape = text(image), .bytes = bytes, .bind = [=, this](Operands& memory) {
           T* dx = memory.take<T>(values);
           const float* dy = memory.take<float>(rows);
           return [=, this] {
             kernels::global_avg_pool_backward<T>(
                 exec, {.shape = image, .dx = dx, .accumulate = Accumulate::assign, .dy = dy});
           };
         }});
  }

  void max_pool(const kernels::PoolShape& shape) {
    const std::size_t x_size = shape.input().size(), y_size = shape.output().size();
    const std::string size =
        fmt::format("{}, {}x{}, stride {}", text(shape.input()), shape.kernel, shape.kernel, shape.stride);
    const double bytes = number((x_size + y_size) * element + y_size);
    bench.run({.op = "max_pool forward", .shape = size, .bytes = bytes, .bind = [=, this](Operands& memory) {
                 T *y = memory.take<T>(y_size), *x = memory.take<T>(x_size);
                 auto* taps = memory.take<std::uint8_t>(y_size);
                 return
                     [=, this] { kernels::max_pool_forward<T>(exec, {.shape = shape, .y = y, .taps = taps, .x = x}); };
               }});
    bench.run({.op = "max_pool backward", .shape = size, .bytes = bytes, .bind = [=, this](Operands& memory) {
                 T *dx = memory.take<T>(x_size), *dy = memory.take<T>(y_size);
                 const auto* taps = memory.take<std::uint8_t>(y_size);
                 return [=, this] {
                   kernels::max_pool_backward<T>(
                       exec, {.shape = shape, .dx = dx, .accumulate = Accumulate::assign, .dy = dy, .taps = taps});
                 };
               }});
  }

  void losses(const kernels::LogitsShape& shape) {
    const std::size_t rows = static_cast<std::size_t>(shape.rows), values = rows * shape.classes;
    const std::string size = fmt::format("{}x{}", shape.rows, shape.classes);
    const std::vector<std::int32_t> labels(rows, shape.classes / 2);
    bench.run({.op = "softmax_cross_entropy forward",
               .shape = size,
               .bytes = number(values * 4 + rows * 12),
               .bind = [=, this](Operands& memory) {
                 float *losses = memory.take<float>(rows), *logits = memory.take<float>(values);
                 auto* ranks = memory.take<std::int32_t>(rows);
                 const std::int32_t* true_ones = memory.take(labels);
                 return [=, this] {
                   kernels::softmax_cross_entropy_forward(
                       exec, {.shape = shape, .losses = losses, .ranks = ranks, .logits = logits, .labels = true_ones});
                 };
               }});
    bench.run({.op = "softmax_cross_entropy backward",
               .shape = size,
               .bytes = number(values * 8 + rows * 4),
               .bind = [=, this](Operands& memory) {
                 float *dlogits = memory.take<float>(values), *logits = memory.take<float>(values);
                 const std::int32_t* true_ones = memory.take(labels);
                 return [=, this] {
                   kernels::softmax_cross_entropy_backward(exec, {.shape = shape,
                                                                  .dlogits = dlogits,
                                                                  .accumulate = Accumulate::assign,
                                                                  .logits = logits,
                                                                  .labels = true_ones,
                                                                  .scale = 0.01f});
                 };
               }});
    bench.run({.op = "distillation backward",
               .shape = size,
               .bytes = number(values * 12),
               .bind = [=, this](Operands& memory) {
                 float* dlogits = memory.take<float>(values);
                 const float *student = memory.take<float>(values), *teacher = memory.take<float>(values);
                 return [=, this] {
                   kernels::distillation_backward(exec, {.shape = shape,
                                                         .dlogits = dlogits,
                                                         .accumulate = Accumulate::assign,
                                                         .student = student,
                                                         .teacher = teacher,
                                                         .temperature = 4,
                                                         .scale = 0.01f});
                 };
               }});
    bench.run({.op = "tally_batch",
               .shape = fmt::format("{}", shape.rows),
               .bytes = number(rows * 8),
               .bind = [=, this](Operands& memory) {
                 StepControl* control = memory.take(std::vector<StepControl>(1));
                 const float* losses = memory.take<float>(rows);
                 const std::int32_t* ranks = memory.take(labels);
                 return [=, this] {
                   kernels::tally_batch(exec,
                                        {.rows = shape.rows, .control = control, .losses = losses, .ranks = ranks});
                 };
               }});
  }

  /// As filters have them.
  kernels::Gradients gradients(Operands& memory) const {
    if constexpr (std::is_same_v<T, bf16>) {
      const std::vector<std::uint8_t> all(parameters / kernels::Gradients::stretch + 1, 1);
      const bf16* narrow = memory.take<bf16>(parameters);
      return {.wide = nullptr, .narrow = narrow, .is_narrow = memory.take(all)};
    } else {
      return {.wide = memory.take<float>(parameters)};
    }
  }
  bf16* rounded_weights(Operands& memory) const {
    return std::is_same_v<T, bf16> ? memory.take<bf16>(parameters) : nullptr;
  }

  void optimizers() {
    const std::vector<StepControl> begun{{.learning_rates = {1e-3f, 1e-3f}, .steps = 2}};
    const std::string size = fmt::format("{}", parameters);
    const std::size_t of_type = std::is_same_v<T, bf16> ? 2 * sizeof(bf16) : sizeof(float);  // gradient, rounded weight
    bench.run({.op = "sgd_step, momentum",
               .shape = size,
               .bytes = number(parameters * (4 * 4 + of_type)),
               .bind = [=, this](Operands& memory) {
                 float *w = memory.take<float>(parameters), *v = memory.take<float>(parameters);
                 bf16* rounded = rounded_weights(memory);
                 const kernels::Gradients gradient = gradients(memory);
                 const StepControl* control = memory.take(begun);
                 return [=, this] {
                   const kernels::Segment all{0, parameters};
                   kernels::sgd_step(exec, {.segments = {&all, 1},
                                            .w = w,
                                            .rounded = rounded,
                                            .v = v,
                                            .grad = gradient,
                                            .control = control,
                                            .settings = cases::network_sgd});
                 };
               }});
    bench.run({.op = "adam_step",
               .shape = size,
               .bytes = number(parameters * (4 * 6 + of_type)),
               .bind = [=, this](Operands& memory) {
                 float *w = memory.take<float>(parameters), *m = memory.take<float>(parameters);
                 float* v = memory.take(std::vector<float>(parameters, 1.0f));
                 bf16* rounded = rounded_weights(memory);
                 const kernels::Gradients gradient = gradients(memory);
                 const StepControl* control = memory.take(begun);
                 return [=, this] {
                   const kernels::Segment all{0, parameters};
                   kernels::adam_step(exec, {.segments = {&all, 1},
                                             .w = w,
                                             .rounded = rounded,
                                             .m = m,
                                             .v = v,
                                             .grad = gradient,
                                             .control = control,
                                             .settings = cases::network_adam});
                 };
               }});
  }

  void elementwise(const ImageShape& image) {
    const std::size_t values = image.size();
    bench.run(
        {.op = "add", .shape = text(image), .bytes = number(values * element * 3), .bind = [=, this](Operands& memory) {
           T *y = memory.take<T>(values), *x = memory.take<T>(values);
           return [=, this] { kernels::add(exec, values, y, x); };
         }});
  }

  void conv2d(const kernels::Conv2dShape& shape, bool with_data_gradient) {
    const std::size_t x_size = shape.input().size(), y_size = shape.output().size(), w_size = shape.weights();
    const std::string size = fmt::format("{} to {}, {}x{}, stride {}", text(shape.input()), shape.out_c, shape.kernel,
                                         shape.kernel, shape.stride);
    const double operations = 2 * cases::products(shape);
    const double activations = number((x_size + y_size) * element);
    const Products products = convolution_products();
    bench.run({.op = "conv2d forward",
               .shape = size,
               .bytes = activations + number(w_size * element),
               .operations = operations,
               .products = products,
               .bind = [=, this](Operands& memory) {
                 T *y = memory.take<T>(y_size), *x = memory.take<T>(x_size), *w = memory.take<T>(w_size);
                 return [=, this] { kernels::conv2d_forward<T>(exec, {.shape = shape, .y = y, .x = x, .w = w}); };
               }});
    if (with_data_gradient) {
      bench.run({.op = "conv2d backward data",
                 .shape = size,
                 .bytes = activations + number(w_size * element),
                 .operations = operations,
                 .products = products,
                 .bind = [=, this](Operands& memory) {
                   T *dx = memory.take<T>(x_size), *dy = memory.take<T>(y_size), *w = memory.take<T>(w_size);
                   return [=, this] {
                     kernels::conv2d_backward_data<T>(
                         exec, {.shape = shape, .dx = dx, .accumulate = Accumulate::assign, .dy = dy, .w = w});
                   };
                 }});
    }
    bench.run({.op = "conv2d backward weights",
               .shape = size,
               .bytes = activations + number(w_size * element),
               .operations = operations,
               .products = products,
               .bind = [=, this](Operands& memory) {
                 T* dw = memory.take<T>(w_size);
                 const T *dy = memory.take<T>(y_size), *x = memory.take<T>(x_size);
                 kernels::Conv2dBackwardWeights<T> operands{
                     .shape = shape, .dw = nullptr, .accumulate = Accumulate::assign, .dy = dy, .x = x};
                 if constexpr (std::is_same_v<T, bf16>) {
                   operands.narrow_dw = dw;
                 } else {
                   operands.dw = dw;
                 }
                 return [=, this] { kernels::conv2d_backward_weights(exec, operands); };
               }});
  }

  void linear(const kernels::LinearShape& shape) {
    const std::size_t in = shape.in, out = shape.out, rows = shape.rows;
    const std::size_t x_size = rows * in, y_size = rows * out, w_size = out * in;
    const std::string size = fmt::format("{}x{} to {}", rows, in, out);
    const double operations = 2 * cases::products(shape);
    const double bytes = number((x_size + y_size + w_size) * 4);
    const auto run = [&](const std::string& op, double all_bytes, const auto& issue) {
      bench.run({.op = op,
                 .shape = size,
                 .bytes = all_bytes,
                 .operations = operations,
                 .products = head_products(),
                 .bind = [=](Operands& memory) {
                   float *x = memory.take<float>(x_size), *y = memory.take<float>(y_size);
                   float *w = memory.take<float>(w_size), *b = memory.take<float>(out);
                   return [=] { issue(x, y, w, b); };
                 }});
    };
    run("linear forward", bytes + number(out * 4), [=, this](float* x, float* y, float* w, float* b) {
      kernels::linear_forward(exec, {.shape = shape, .y = y, .x = x, .w = w, .b = b});
    });
    run("linear backward data", bytes, [=, this](float* dx, float* dy, float* w, float*) {
      kernels::linear_backward_data(exec,
                                    {.shape = shape, .dx = dx, .accumulate = Accumulate::assign, .dy = dy, .w = w});
    });
    run("linear backward weights", bytes + number(out * 4), [=, this](float* x, float* dy, float* dw, float* db) {
      kernels::linear_backward_weights(
          exec, {.shape = shape, .dw = dw, .db = db, .accumulate = Accumulate::assign, .dy = dy, .x = x});
    });
  }
};

}  // namespace

std::vector<ImageShape> stages(int batch) { return cases::of_network(cases::batch_norm, batch); }

template <class T>
void run_kernels(KernelBench& bench, int batch) {
  Cases<T> run{.bench = bench, .exec = bench.exec()};
  for (const cases::Gathering& gathering : cases::of_network(cases::gather, batch)) run.gather(gathering);
  for (const kernels::Conv2dShape& shape : cases::of_network(cases::conv2d, batch)) {
    run.conv2d(shape, shape.c != 3);  // nothing asks for the pictures' gradient
  }
  for (const ImageShape& image : stages(batch)) {
    run.batch_norm(image, false, false);
    run.batch_norm(image, false, true);
    run.batch_norm(image, true, true);
    run.elementwise(image);
  }
  for (const ImageShape& image : cases::of_network(cases::pool, batch)) run.pool(image);
  for (const kernels::PoolShape& shape : cases::of_network(cases::max_pool, batch)) run.max_pool(shape);
  for (const kernels::LinearShape& shape : cases::of_network(cases::linear, batch)) run.linear(shape);
  for (const kernels::LogitsShape& shape : cases::of_network(cases::logits, batch)) run.losses(shape);
  run.optimizers();
}

template void run_kernels<float>(KernelBench&, int);
template void run_kernels<bf16>(KernelBench&, int);

}  // namespace nepenthe::bench
