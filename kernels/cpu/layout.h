// Walking over activations in the backend's layout: a *run* is the H·W·block floats of one image's channel block, which
// lie together. With block = 1 it is one channel's plane, else vector after vector of `block` channels.
#pragma once

#include <cstddef>

#include "kernels/cpu/isa.h"
#include "kernels/cpu_exec.h"
#include "kernels/layout.h"
#include "kernels/shapes.h"

namespace nepenthe::kernels {

struct Layout {
  int block, blocks;       // channels in a block, blocks in an image
  std::size_t plane, run;  // H·W, H·W·block
  std::size_t offset(int n, int k) const { return (std::size_t(n) * blocks + k) * run; }
};

inline Layout layout_of(const CpuExec& exec, const ImageShape& shape) {
  const int block = channel_block(exec, shape.c);
  const std::size_t plane = std::size_t(shape.h) * shape.w;
  return {.block = block, .blocks = shape.c / block, .plane = plane, .run = plane * block};
}

/// A number for each channel, as the steps over a run of channel block k need it: the lanes' own, or the same for all.
template <int W>
struct PerChannel {
  typename Lanes<W>::type lanes;
  float one;

  NEPENTHE_INLINE PerChannel(const float* channels, int k, int block)
      : lanes(block == 1 ? broadcast<W>(channels[k]) : load<W>(channels + k * W)), one(channels[k]) {}
  NEPENTHE_INLINE typename Lanes<W>::type operator()(Width<W>) const { return lanes; }
  NEPENTHE_INLINE float operator()(Width<1>) const { return one; }
};

/// A sum over a run for each of its channels.
template <int W>
struct RunSum {
  typename Lanes<W>::type lanes[4] = {};
  float rest = 0;

  NEPENTHE_INLINE void add(Width<W>, int slot, const typename Lanes<W>::type& value) { lanes[slot] += value; }
  NEPENTHE_INLINE void add(Width<1>, int, float value) { rest += value; }
  NEPENTHE_INLINE void store_times(float factor, float* channels, int k, int block) const {
    const typename Lanes<W>::type total = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
    if (block == 1) {
      channels[k] = (sum_of_lanes<W>(total) + rest) * factor;
    } else {
      store<W>(channels + k * W, total * factor);
    }
  }
};

}  // namespace nepenthe::kernels
