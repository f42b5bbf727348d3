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

/// Visits the thread's rows in order, Ahead of them at a time: first load(element) for each, `element` being the index
/// of its first channel, then take(element, what was loaded) for each. So that many loads are in flight at once, which
/// the compiler dares not do by itself where take() writes.
template <int Ahead, int V, class Load, class Take>
__device__ void each_row(const RowTiling& tiling, const RowPlace<V>& place, Load load, Take take) {
  std::int64_t element = place.row * tiling.channels + place.channel;
  const std::int64_t end = place.end * tiling.channels, step = std::int64_t{tiling.rows_at_once} * tiling.channels;
  for (; element + (Ahead - 1) * step < end; element += Ahead * step) {
    decltype(load(element)) loaded[Ahead];
#pragma unroll
    for (int i = 0; i < Ahead; ++i) loaded[i] = load(element + i * step);
#pragma unroll
    for (int i = 0; i < Ahead; ++i) take(element + i * step, loaded[i]);
  }
#pragma unroll 1
  for (; element < end; element += step) take(element, load(element));
}

/// Sums over the rows of the block, in a fixed tree: of each of `sums`, threads with row_in_turn 0 have the sum over
/// all threads of their channels on return, the others anything. All threads call it; between two calls there is a
/// barrier. `shared`: row_threads·V floats for each of `sums`.
template <int V, class... Sums>
__device__ void sum_over_rows(const RowTiling& tiling, const RowPlace<V>& place, float* shared, Sums&... sums) {
  // Value i of thread t at (i, t): neighbouring threads in neighbouring banks. Each is written once and read once.
  const auto each_value = [&](auto visit) {
    int i = 0;
    const auto each_of = [&](Floats<V>& values) {
#pragma unroll
      for (float& value : values.v) visit(value, i++ * row_threads + threadIdx.x);
    };
    (each_of(sums), ...);
  };
  for (int rows = tiling.rows_at_once; rows > 1;) {
    const int kept = (rows + 1) / 2;
    if (place.row_in_turn >= kept && place.row_in_turn < rows) {
      each_value([&](float value, unsigned at) { shared[at] = value; });
    }
    __syncthreads();
    if (place.row_in_turn < rows - kept) {
      each_value([&](float& value, unsigned at) { value += shared[at + kept * tiling.vectors]; });
    }
    rows = kept;
  }
}

}  // namespace nepenthe::kernels
