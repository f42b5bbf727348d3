// How a block walks over activations (N, H, W, C), seen as rows (N·H·W) of C channels: a thread keeps to V neighbouring
// channels, so that what belongs to a channel is read once, and neighbouring threads touch neighbouring memory. How the
// rows are cut into blocks depends on the shape alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "kernels/cuda/device/vector.cuh"

namespace nepenthe::kernels {

inline constexpr int row_threads = 256;  // of a block

struct RowTiling {
  std::int64_t rows;
  int channels;
  int vectors;         // of V channels, in a row
  int rows_at_once;    // rows that a block's threads cover together
  int rows_per_block;  // a multiple of rows_at_once

  __host__ __device__ int blocks() const { return static_cast<int>((rows + rows_per_block - 1) / rows_per_block); }
};

/// Each thread gets about `rows_per_thread` rows, more where that makes more than `most_blocks` blocks.
template <int V>
RowTiling tile_rows(std::int64_t rows, int channels, int rows_per_thread, int most_blocks) {
  const int vectors = channels / V;
  if (vectors > row_threads) {
    throw std::invalid_argument("[rows] " + std::to_string(channels) + " channels: at most " +
                                std::to_string(row_threads * V) + " fit a block");
  }
  const int at_once = row_threads / vectors;
  const std::int64_t enough = (rows + std::int64_t{at_once} * most_blocks - 1) / (std::int64_t{at_once} * most_blocks);
  const auto turns = static_cast<int>(std::max<std::int64_t>(rows_per_thread, enough));
  return {.rows = rows,
          .channels = channels,
          .vectors = vectors,
          .rows_at_once = at_once,
          .rows_per_block = turns * at_once};
}

/// One thread's place in its block. Threads that do not fit a row have none: `channel` is outside and `row` past the
/// end.
template <int V>
struct RowPlace {
  int channel;            // the first of V
  int row_in_turn;        // in [0, rows_at_once)
  std::int64_t row, end;  // rows to visit: row, row + rows_at_once, … below end
  bool active;

  RowPlace() = default;
  __device__ explicit RowPlace(const RowTiling& tiling) {
    const int thread = static_cast<int>(threadIdx.x);
    channel = thread % tiling.vectors * V;
    row_in_turn = thread / tiling.vectors;
    active = row_in_turn < tiling.rows_at_once;
    const std::int64_t begin = std::int64_t{blockIdx.x} * tiling.rows_per_block;
    const std::int64_t block_end = begin + tiling.rows_per_block;
    row = begin + row_in_turn;
    end = !active ? row : block_end < tiling.rows ? block_end : tiling.rows;
  }
};

/// Sums of the block's threads for each channel: on return shared (2, channels) holds the sums of a and of b over the
/// rows of the block, in a fixed tree. All threads call it. `shared`: 2·row_threads·V floats.
template <int V>
__device__ void sum_over_rows(const RowTiling& tiling, const RowPlace<V>& place, const Floats<V>& a, const Floats<V>& b,
                              float* shared) {
  // Row r's sums at (r, 2, channels).
  const int stride = 2 * tiling.channels;
  float* own = shared + place.row_in_turn * stride + place.channel;
  if (place.active) {
#pragma unroll
    for (int i = 0; i < V; ++i) {
      own[i] = a[i];
      own[tiling.channels + i] = b[i];
    }
  }
  for (int rows = tiling.rows_at_once; rows > 1;) {
    const int kept = (rows + 1) / 2;
    __syncthreads();
    if (place.row_in_turn < rows - kept) {
      const float* other = own + kept * stride;
#pragma unroll
      for (int i = 0; i < V; ++i) {
        own[i] += other[i];
        own[tiling.channels + i] += other[tiling.channels + i];
      }
    }
    rows = kept;
  }
  __syncthreads();
}

}  // namespace nepenthe::kernels
