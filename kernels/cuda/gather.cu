#include "kernels/gather.h"

#include <stdexcept>
#include <string>

#include "kernels/cuda/context.h"
#include "kernels/cuda/device/vector.cuh"

namespace nepenthe::kernels {
namespace {

constexpr int threads = 256;

/// One thread a pixel; pictures along y.
template <class T>
__global__ void __launch_bounds__(threads)
    gather_kernel(ImageShape shape, T* images, std::int32_t* batch_labels, const std::uint8_t* bytes,
                  const std::int32_t* labels, const std::int32_t* order, const StepControl* control,
                  Normalization normalization, bool augment, Augmentation augmentation) {
  const int plane = shape.h * shape.w;
  const int pixel = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), n = static_cast<int>(blockIdx.y);
  if (pixel >= plane) return;
  const std::int32_t id = order[control->offset + static_cast<std::uint32_t>(n)];
  int row = pixel / shape.w, column = pixel % shape.w;
  if (augment) {
    augmentation.stream.epoch = control->epoch;
    const Random4 bits = random_bits(augmentation.stream, static_cast<std::uint32_t>(id));
    const auto offsets = static_cast<std::uint32_t>(2 * augmentation.padding + 1);
    if ((bits.z >> 31) != 0) column = shape.w - 1 - column;
    row += static_cast<int>(random_below(bits.x, offsets)) - augmentation.padding;
    column += static_cast<int>(random_below(bits.y, offsets)) - augmentation.padding;
  }
  const bool inside = row >= 0 && row < shape.h && column >= 0 && column < shape.w;
  const std::uint8_t* source = bytes + std::int64_t{id} * 3 * plane + (inside ? row * shape.w + column : 0);
  T* out = images + (std::int64_t{n} * plane + pixel) * 3;
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const auto level = static_cast<float>(inside ? source[c * plane] : 0);
    from_float(out[c], (level / 255.0f - normalization.mean[c]) / normalization.std[c]);
  }
  if (pixel == 0) batch_labels[n] = labels[id];
}

}  // namespace

template <class T>
void gather(CudaExec& exec, const ImageShape& shape, T* images, std::int32_t* batch_labels, const std::uint8_t* bytes,
            const std::int32_t* labels, const std::int32_t* order, const StepControl* control,
            const Normalization& normalization, const std::optional<Augmentation>& augmentation) {
  if (shape.c != 3) {
    throw std::invalid_argument("[gather] pictures of " + std::to_string(shape.c) + " channels: 3 are needed");
  }
  const dim3 grid((shape.h * shape.w + threads - 1) / threads, shape.n);
  NEPENTHE_LAUNCH(gather_kernel<T>, grid, threads, 0, exec.context().stream, shape, images, batch_labels, bytes, labels,
                  order, control, normalization, augmentation.has_value(), augmentation.value_or(Augmentation{}));
}

template void gather(CudaExec&, const ImageShape&, float*, std::int32_t*, const std::uint8_t*, const std::int32_t*,
                     const std::int32_t*, const StepControl*, const Normalization&, const std::optional<Augmentation>&);
template void gather(CudaExec&, const ImageShape&, bf16*, std::int32_t*, const std::uint8_t*, const std::int32_t*,
                     const std::int32_t*, const StepControl*, const Normalization&, const std::optional<Augmentation>&);

}  // namespace nepenthe::kernels
