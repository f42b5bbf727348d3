#include "kernels/gather.h"

#include <algorithm>

#include "kernels/cpu/chunks.h"
#include "kernels/cpu_exec.h"

namespace nepenthe::kernels {
namespace {

/// What each byte becomes, for one channel.
using Levels = std::array<float, 256>;

std::array<Levels, 3> levels_of(const std::array<float, 3>& mean, const std::array<float, 3>& deviation) {
  std::array<Levels, 3> levels;
  for (int c = 0; c < 3; ++c) {
    for (int byte = 0; byte < 256; ++byte) {
      levels[c][byte] = (static_cast<float>(byte) / 255.0f - mean[c]) / deviation[c];
    }
  }
  return levels;
}

/// Where the picture's rows and columns come from: output (r, s) reads input (r + row, s + column), or black outside.
struct Window {
  int row = 0, column = 0;
  bool flip = false;
};

Window window_of(const Augmentation& augmentation, std::int32_t id) {
  const Random4 bits = random_bits(augmentation.stream, static_cast<std::uint32_t>(id));
  const auto offsets = static_cast<std::uint32_t>(2 * augmentation.padding + 1);
  return {.row = static_cast<int>(random_below(bits.x, offsets)) - augmentation.padding,
          .column = static_cast<int>(random_below(bits.y, offsets)) - augmentation.padding,
          .flip = (bits.z >> 31) != 0};
}

void copy_plane(int h, int w, float* to, const std::uint8_t* from, const Levels& levels, const Window& window) {
  // Output columns [first, last) fall inside the source.
  const int first = std::clamp(-window.column, 0, w), last = std::clamp(w - window.column, 0, w);
  for (int r = 0; r < h; ++r, to += w) {
    const int source = r + window.row;
    if (source < 0 || source >= h) {
      std::fill_n(to, w, levels[0]);
      continue;
    }
    const std::uint8_t* bytes = from + std::ptrdiff_t{source} * w;
    std::fill(to, to + first, levels[0]);
    for (int s = first; s < last; ++s) to[s] = levels[bytes[s + window.column]];
    std::fill(to + std::max(first, last), to + w, levels[0]);
    if (window.flip) std::reverse(to, to + w);
  }
}

}  // namespace

template <class T>
void gather(CpuExec& exec, const Gather<T>& o) {
  const ImageShape& shape = o.shape;
  check_pictures(shape);  // with three channels the layout is planar for every instruction set
  const std::array<Levels, 3> levels = levels_of(o.mean, o.std);
  const std::size_t plane = std::size_t(shape.h) * shape.w;
  const std::int32_t* ids = o.order + o.control->offset;
  std::optional<Augmentation> augmentation = o.augmentation;
  if (augmentation) augmentation->stream.epoch = o.control->epoch;
  const Chunks chunks = chunks_of_images(shape.n);
  exec.parallel(chunks.parts(), [&](int chunk, int) {
    const Range range = chunks[chunk];
    for (std::size_t n = range.begin; n < range.end; ++n) {
      const auto id = static_cast<std::size_t>(ids[n]);
      const Window window = augmentation ? window_of(*augmentation, ids[n]) : Window{};
      for (int c = 0; c < 3; ++c) {
        copy_plane(shape.h, shape.w, o.images + (n * 3 + c) * plane, o.bytes + (id * 3 + c) * plane, levels[c], window);
      }
      o.batch_labels[n] = o.labels[id];
    }
  });
}

template void gather(CpuExec&, const Gather<float>&);

}  // namespace nepenthe::kernels
