// How work is cut into chunks. By shapes alone, never by the number of threads: each part is computed by one thread and
// parts are combined in order, hence the same bits for any team.
#pragma once

#include <algorithm>
#include <cstddef>

namespace nepenthe::kernels {

/// [begin, end)
struct Range {
  std::size_t begin, end;
  int size() const { return static_cast<int>(end - begin); }
};

/// `count` things in parts of `size`, the last one smaller if need be.
struct Chunks {
  std::size_t count, size;
  int parts() const { return static_cast<int>((count + size - 1) / size); }
  Range operator[](int part) const {
    const std::size_t begin = size * static_cast<std::size_t>(part);
    return {begin, std::min(begin + size, count)};
  }
};

/// A batch in chunks of images: 16, which keep a chunk's activations near the second-level cache (measured), but a
/// power of two small enough that a small batch of large pictures still has work for eight threads.
inline Chunks chunks_of_images(int images) {
  std::size_t size = 16;
  while (size > 1 && size * 8 > static_cast<std::size_t>(images)) size /= 2;
  return {static_cast<std::size_t>(images), size};
}

/// `count` things in at most `parts` parts of one size.
inline Chunks chunks_at_most(int parts, int count) {
  return {static_cast<std::size_t>(count), static_cast<std::size_t>((count + parts - 1) / parts)};
}
/// How many partial sums a gradient of filters is made of: work for as many threads.
inline constexpr int most_partial_sums = 8;

/// Flat arrays in parts of 64 KiB.
inline Chunks parts_of_array(std::size_t count) { return {count, std::size_t{1} << 14}; }

}  // namespace nepenthe::kernels
