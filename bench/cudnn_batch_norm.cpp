#include "bench/cudnn_batch_norm.h"

#include <memory>
#include <type_traits>

#include <fmt/core.h>

#include "kernels/bf16.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/context.h"

namespace nepenthe::bench {
namespace {

constexpr auto mode = CUDNN_BATCHNORM_SPATIAL_PERSISTENT;
constexpr double eps = 1e-5, momentum = 0.1;

struct Destroy {
  void operator()(cudnnHandle_t handle) const { cudnnDestroy(handle); }
  void operator()(cudnnTensorDescriptor_t descriptor) const { cudnnDestroyTensorDescriptor(descriptor); }
};
using Handle = std::unique_ptr<std::remove_pointer_t<cudnnHandle_t>, Destroy>;
using Descriptor = std::unique_ptr<std::remove_pointer_t<cudnnTensorDescriptor_t>, Destroy>;

Descriptor make_descriptor() {
  cudnnTensorDescriptor_t created = nullptr;
  NEPENTHE_CHECK(cudnnCreateTensorDescriptor(&created));
  return Descriptor(created);
}

}  // namespace

template <class T>
void run_cudnn_batch_norm(KernelBench& bench, const kernels::ImageShape& shape) {
  cudnnHandle_t created = nullptr;
  NEPENTHE_CHECK(cudnnCreate(&created));
  const Handle handle(created);
  NEPENTHE_CHECK(cudnnSetStream(created, bench.exec().context().stream));
  const Descriptor image = make_descriptor(), channels = make_descriptor();
  const auto type = std::is_same_v<T, float> ? CUDNN_DATA_FLOAT : CUDNN_DATA_BFLOAT16;
  NEPENTHE_CHECK(cudnnSetTensor4dDescriptor(image.get(), CUDNN_TENSOR_NHWC, type, shape.n, shape.c, shape.h, shape.w));
  NEPENTHE_CHECK(cudnnDeriveBNTensorDescriptor(channels.get(), image.get(), mode));

  const auto c = static_cast<std::size_t>(shape.c);
  const std::string text = fmt::format("{}x{}x{}x{}", shape.n, shape.h, shape.w, shape.c);
  const double image_bytes = static_cast<double>(shape.size() * sizeof(T));
  bench.run({.op = "cuDNN batch_norm forward", .shape = text, .bytes = 2 * image_bytes, .bind = [&](Operands& memory) {
               T *y = memory.take<T>(shape.size()), *x = memory.take<T>(shape.size());
               float *scale = memory.take<float>(c), *bias = memory.take<float>(c);
               float *running_mean = memory.take<float>(c), *running_var = memory.take<float>(c);
               float *mean = memory.take<float>(c), *rstd = memory.take<float>(c);
               return [=, &handle, &image, &channels] {
                 const float one = 1, zero = 0;
                 NEPENTHE_CHECK(cudnnBatchNormalizationForwardTraining(
                     handle.get(), mode, &one, &zero, image.get(), x, image.get(), y, channels.get(), scale, bias,
                     momentum, running_mean, running_var, eps, mean, rstd));
               };
             }});
  bench.run({.op = "cuDNN batch_norm backward", .shape = text, .bytes = 3 * image_bytes, .bind = [&](Operands& memory) {
               T *dx = memory.take<T>(shape.size()), *dy = memory.take<T>(shape.size()),
                 *x = memory.take<T>(shape.size());
               float *scale = memory.take<float>(c), *dscale = memory.take<float>(c), *dbias = memory.take<float>(c);
               float *mean = memory.take<float>(c), *rstd = memory.take<float>(c);
               return [=, &handle, &image, &channels] {
                 const float one = 1, zero = 0;
                 NEPENTHE_CHECK(cudnnBatchNormalizationBackward(handle.get(), mode, &one, &zero, &one, &zero,
                                                                image.get(), x, image.get(), dy, image.get(), dx,
                                                                channels.get(), scale, dscale, dbias, eps, mean, rstd));
               };
             }});
}

template void run_cudnn_batch_norm<float>(KernelBench&, const kernels::ImageShape&);
template void run_cudnn_batch_norm<kernels::bf16>(KernelBench&, const kernels::ImageShape&);

}  // namespace nepenthe::bench
