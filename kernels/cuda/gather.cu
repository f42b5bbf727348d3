#include "kernels/gather.h"

#include "kernels/cuda/context.h"
#include "kernels/cuda/device/vector.cuh"

namespace nepenthe::kernels {
namespace {

constexpr int threads = 256;

/// One thread a pixel of the batch; pictures along y.
template <class T>
__global__ void __launch_bounds__(threads)
    gather_kernel(ImageShape shape, int scale, T* images, std::int32_t* batch_labels, const std::uint8_t* bytes,
                  const std::int32_t* labels, const StepControl* control, std::array<float, 3> mean,
                  std::array<float, 3> deviation, bool augment, Augmentation augmentation) {
  wait_for_earlier_kernels();
  const int plane = shape.h * shape.w, h = shape.h / scale, w = shape.w / scale;
  const int pixel = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), n = static_cast<int>(blockIdx.y);
  if (pixel >= plane) return;
  const std::int32_t id = control->order[control->offset + n];
  int row = pixel / shape.w / scale, column = pixel % shape.w / scale;
  if (augment) {
    const Random4 bits = random_bits(control->stream, static_cast<std::uint32_t>(id));
    const auto offsets = static_cast<std::uint32_t>(2 * augmentation.padding + 1);
    if ((bits.z >> 31) != 0) column = w - 1 - column;
    row += static_cast<int>(random_below(bits.x, offsets)) - augmentation.padding;
    column += static_cast<int>(random_below(bits.y, offsets)) - augmentation.padding;
  }
  const bool inside = row >= 0 && row < h && column >= 0 && column < w;
  const std::uint8_t* source = bytes + std::int64_t{id} * 3 * h * w + (inside ? row * w + column : 0);
  T* out = images + (std::int64_t{n} * plane + pixel) * 3;
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const auto level = static_cast<float>(inside ? source[c * h * w] : 0);
    from_float(out[c], (level / 255.0f - mean[c]) / deviation[c]);
  }
  if (pixel == 0) batch_labels[n] = labels[id];
}

/// One thread a value; rows along y.
__global__ void __launch_bounds__(threads) gather_rows_kernel(GatherRows o) {
  wait_for_earlier_kernels();
  const int column = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), n = static_cast<int>(blockIdx.y);
  if (column >= o.width) return;
  const std::int32_t id = o.control->order[o.control->offset + n];
  o.batch[std::int64_t{n} * o.width + column] = o.values[std::int64_t{id} * o.width + column];
  if (column == 0) o.batch_labels[n] = o.labels[id];
}

}  // namespace

template <class T>
void gather(CudaExec& exec, const Gather<T>& o) {
  const ImageShape& shape = o.shape;
  check_pictures(shape, o.scale);
  const dim3 grid((shape.h * shape.w + threads - 1) / threads, shape.n);
  NEPENTHE_LAUNCH(gather_kernel<T>, grid, threads, 0, exec.context().stream, shape, o.scale, o.images, o.batch_labels,
                  o.bytes, o.labels, o.control, o.mean, o.std, o.augmentation.has_value(),
                  o.augmentation.value_or(Augmentation{}));
}

void gather_rows(CudaExec& exec, const GatherRows& o) {
  check_rows(o);
  const dim3 grid((o.width + threads - 1) / threads, o.rows);
  NEPENTHE_LAUNCH(gather_rows_kernel, grid, threads, 0, exec.context().stream, o);
}

template void gather(CudaExec&, const Gather<float>&);
template void gather(CudaExec&, const Gather<bf16>&);

}  // namespace nepenthe::kernels
