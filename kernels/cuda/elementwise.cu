#include "kernels/elementwise.h"

#include "kernels/cuda/context.h"
#include "kernels/cuda/device/vector.cuh"

namespace nepenthe::kernels {
namespace {

constexpr int threads = 256;
constexpr int V = 4;  // elements of a thread

/// y = f(y, x) for the thread's V elements, or, at the end of an array, as many as there are. Y and X are aligned to V
/// elements.
template <bool ReadsY, class Y, class X>
__global__ void __launch_bounds__(threads) combine_kernel(std::size_t count, Y* y, const X* x) {
  wait_for_earlier_kernels();
  const std::size_t first = (std::size_t{blockIdx.x} * blockDim.x + threadIdx.x) * V;
  const auto update = [&]<int Width>(std::size_t at) {
    Floats<Width> value = load<Width>(x + at);
    if constexpr (ReadsY) {
      const Floats<Width> before = load<Width>(y + at);
#pragma unroll
      for (int i = 0; i < Width; ++i) value[i] += before[i];
    }
    store(y + at, value);
  };
  if (first + V <= count) {
    update.template operator()<V>(first);
  } else {
    for (std::size_t i = first; i < count; ++i) update.template operator()<1>(i);
  }
}

template <bool ReadsY, class Y, class X>
void combine(CudaExec& exec, std::size_t count, Y* y, const X* x) {
  if (count == 0) return;
  const auto blocks = static_cast<unsigned>((count + std::size_t{threads} * V - 1) / (std::size_t{threads} * V));
  NEPENTHE_LAUNCH((combine_kernel<ReadsY, Y, X>), blocks, threads, 0, exec.context().stream, count, y, x);
}

}  // namespace

void add(CudaExec& exec, std::size_t count, float* y, const float* x) { combine<true>(exec, count, y, x); }
void add(CudaExec& exec, std::size_t count, bf16* y, const bf16* x) { combine<true>(exec, count, y, x); }

void cast(CudaExec& exec, std::size_t count, bf16* y, const float* x) { combine<false>(exec, count, y, x); }

void cast(CudaExec& exec, std::size_t count, float* y, Accumulate accumulate, const bf16* x) {
  if (accumulate == Accumulate::add) return combine<true>(exec, count, y, x);
  combine<false>(exec, count, y, x);
}

}  // namespace nepenthe::kernels
