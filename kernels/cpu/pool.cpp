#include "kernels/pool.h"

#include "kernels/cpu/chunks.h"
#include "kernels/cpu/layout.h"

namespace nepenthe::kernels {
namespace {

template <int W, class T>
NEPENTHE_INLINE void means_of_runs(const Layout* layout, Range images, int channels, float* y, const T* x) {
  const float factor = 1.0f / static_cast<float>(layout->plane);
  for (auto n = static_cast<int>(images.begin); n < static_cast<int>(images.end); ++n) {
    for (int k = 0; k < layout->blocks; ++k) {
      const T* from = x + layout->offset(n, k);
      RunSum<W> sum;
      each<W>(
          layout->run, [&](auto width, std::size_t i, auto slot)
                           __attribute__((always_inline)) { sum.add(width, slot, load<width>(from + i)); });
      sum.store_times(factor, y + std::size_t(n) * channels, k, layout->block);
    }
  }
}

template <int W, bool Add, class T>
NEPENTHE_INLINE void spread_over_runs(const Layout* layout, Range images, int channels, T* dx, const float* dy) {
  const float factor = 1.0f / static_cast<float>(layout->plane);
  for (auto n = static_cast<int>(images.begin); n < static_cast<int>(images.end); ++n) {
    for (int k = 0; k < layout->blocks; ++k) {
      T* to = dx + layout->offset(n, k);
      const PerChannel<W> gradient(dy + std::size_t(n) * channels, k, layout->block);
      each<W>(
          layout->run, [&](auto width, std::size_t i, auto) __attribute__((always_inline)) {
            const auto share = gradient(width) * factor;
            if constexpr (Add) {
              store<width>(to + i, load<width>(to + i) + share);
            } else {
              store<width>(to + i, share);
            }
          });
    }
  }
}

}  // namespace

template <class T>
void global_avg_pool_forward(CpuExec& exec, const GlobalAvgPoolForward<T>& o) {
  const ImageShape& shape = o.shape;
  check("global_avg_pool", shape);
  const Layout layout = layout_of(exec, shape);
  const Chunks chunks = chunks_of_images(shape.n);
  exec.parallel(chunks.parts(), [&](int chunk, int) {
    on_isa<means_of_runs<16, T>, means_of_runs<8, T>, means_of_runs<4, T>>(exec.isa(), &layout, chunks[chunk], shape.c,
                                                                           o.y, o.x);
  });
}

template <class T>
void global_avg_pool_backward(CpuExec& exec, const GlobalAvgPoolBackward<T>& o) {
  const ImageShape& shape = o.shape;
  check("global_avg_pool", shape);
  const Layout layout = layout_of(exec, shape);
  const Chunks chunks = chunks_of_images(shape.n);
  exec.parallel(chunks.parts(), [&](int chunk, int) {
    if (o.accumulate == Accumulate::add) {
      on_isa<spread_over_runs<16, true, T>, spread_over_runs<8, true, T>, spread_over_runs<4, true, T>>(
          exec.isa(), &layout, chunks[chunk], shape.c, o.dx, o.dy);
    } else {
      on_isa<spread_over_runs<16, false, T>, spread_over_runs<8, false, T>, spread_over_runs<4, false, T>>(
          exec.isa(), &layout, chunks[chunk], shape.c, o.dx, o.dy);
    }
  });
}

template void global_avg_pool_forward(CpuExec&, const GlobalAvgPoolForward<float>&);
template void global_avg_pool_forward(CpuExec&, const GlobalAvgPoolForward<bf16>&);
template void global_avg_pool_backward(CpuExec&, const GlobalAvgPoolBackward<float>&);
template void global_avg_pool_backward(CpuExec&, const GlobalAvgPoolBackward<bf16>&);

}  // namespace nepenthe::kernels
