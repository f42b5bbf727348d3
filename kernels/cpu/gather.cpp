#include "kernels/gather.h"

#include <algorithm>
#include <type_traits>

#include "kernels/bf16.h"
#include "kernels/cpu/chunks.h"
#include "kernels/cpu_exec.h"

namespace nepenthe::kernels {
namespace {

/// What each byte becomes, for one channel.
template <class T>
using Levels = std::array<T, 256>;

template <class T>
T stored(float value) {
  if constexpr (std::is_same_v<T, bf16>) {
    return to_bf16(value);
  } else {
    return value;
  }
}

template <class T>
std::array<Levels<T>, 3> levels_of(const std::array<float, 3>& mean, const std::array<float, 3>& deviation) {
  std::array<Levels<T>, 3> levels;
  for (int c = 0; c < 3; ++c) {
    for (int byte = 0; byte < 256; ++byte) {
      levels[c][byte] = stored<T>((static_cast<float>(byte) / 255.0f - mean[c]) / deviation[c]);
    }
  }
  return levels;
}

/// Where the picture's rows and columns come from: output (r, s) reads input (r + row, s + column), or black outside.
struct Window {
  int row = 0, column = 0;
  bool flip = false;
};

Window window_of(const Augmentation& augmentation, const RandomStream& stream, std::int32_t id) {
  const Random4 bits = random_bits(stream, static_cast<std::uint32_t>(id));
  const auto offsets = static_cast<std::uint32_t>(2 * augmentation.padding + 1);
  return {.row = static_cast<int>(random_below(bits.x, offsets)) - augmentation.padding,
          .column = static_cast<int>(random_below(bits.y, offsets)) - augmentation.padding,
          .flip = (bits.z >> 31) != 0};
}

template <class T>
void copy_row(int w, T* to, const std::uint8_t* bytes, const Levels<T>& levels, const Window& window) {
  // Output columns [first, last) fall inside the source.
  const int first = std::clamp(-window.column, 0, w), last = std::clamp(w - window.column, 0, w);
  std::fill(to, to + first, levels[0]);
  for (int s = first; s < last; ++s) to[s] = levels[bytes[s + window.column]];
  std::fill(to + std::max(first, last), to + w, levels[0]);
  if (window.flip) std::reverse(to, to + w);
}

/// Repeats each of the first `w` values of a row `scale` times, in place, and then the row below itself.
template <class T>
void enlarge_row(int w, int scale, T* to) {
  if (scale == 1) return;
  const std::ptrdiff_t width = std::ptrdiff_t{w} * scale;
  for (std::ptrdiff_t s = w - 1; s >= 0; --s) std::fill_n(to + s * scale, scale, T{to[s]});
  for (int copy = 1; copy < scale; ++copy) std::copy_n(to, width, to + copy * width);
}

/// `h`, `w`: of the source.
template <class T>
void copy_plane(int h, int w, int scale, T* to, const std::uint8_t* from, const Levels<T>& levels,
                const Window& window) {
  for (int r = 0; r < h; ++r, to += std::ptrdiff_t{w} * scale * scale) {
    const int source = r + window.row;
    if (source < 0 || source >= h) {
      std::fill_n(to, std::ptrdiff_t{w} * scale * scale, levels[0]);
      continue;
    }
    copy_row(w, to, from + std::ptrdiff_t{source} * w, levels, window);
    enlarge_row(w, scale, to);
  }
}

}  // namespace

template <class T>
void gather(CpuExec& exec, const Gather<T>& o) {
  const ImageShape& shape = o.shape;
  check_pictures(shape, o.scale);  // with three channels the layout is planar for every instruction set
  const std::array<Levels<T>, 3> levels = levels_of<T>(o.mean, o.std);
  const int h = shape.h / o.scale, w = shape.w / o.scale;
  const std::size_t plane = std::size_t(shape.h) * shape.w, source_plane = std::size_t(h) * w;
  const std::int32_t* ids = o.control->order + o.control->offset;
  const Chunks chunks = chunks_of_images(shape.n);
  exec.parallel(chunks.parts(), [&](int chunk, int) {
    const Range range = chunks[chunk];
    for (std::size_t n = range.begin; n < range.end; ++n) {
      const auto id = static_cast<std::size_t>(ids[n]);
      const Window window = o.augmentation ? window_of(*o.augmentation, o.control->stream, ids[n]) : Window{};
      for (int c = 0; c < 3; ++c) {
        copy_plane(h, w, o.scale, o.images + (n * 3 + c) * plane, o.bytes + (id * 3 + c) * source_plane, levels[c],
                   window);
      }
      o.batch_labels[n] = o.labels[id];
    }
  });
}

void gather_rows(CpuExec& exec, const GatherRows& o) {
  check_rows(o);
  const std::int32_t* ids = o.control->order + o.control->offset;
  const Chunks chunks = chunks_of_images(o.rows);
  exec.parallel(chunks.parts(), [&](int chunk, int) {
    const Range range = chunks[chunk];
    for (std::size_t n = range.begin; n < range.end; ++n) {
      const auto id = static_cast<std::size_t>(ids[n]), width = static_cast<std::size_t>(o.width);
      std::copy_n(o.values + id * width, width, o.batch + n * width);
      o.batch_labels[n] = o.labels[id];
    }
  });
}

template void gather(CpuExec&, const Gather<float>&);
template void gather(CpuExec&, const Gather<bf16>&);

}  // namespace nepenthe::kernels
