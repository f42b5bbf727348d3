// 3 × 3 convolutions of stride 1 go by Winograd's algorithm; all others, a few percent of a residual network's work,
// are products of patches and filters: a patch is what one output pixel depends on, kernel row by kernel row, kernel
// column by kernel column, channel by channel, as the filters are. No matrix of patches is made where they are read: a
// patch's numbers are where a pixel's place and a value's place in a strip of the picture add up to.
#include "kernels/conv2d.h"

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/chunks.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/layout.h"
#include "kernels/cpu/normalised.h"
#include "kernels/cpu/product.h"
#include "kernels/cpu/winograd.h"

namespace nepenthe::kernels {
namespace {

constexpr std::size_t round_up(std::size_t count, std::size_t to) { return (count + to - 1) / to * to; }

/// A convolution as products over groups of rows of one picture's output. What a group depends on is copied into a
/// strip, in fp32 and with its padding: (channel blocks, rows, columns, channels of a block).
struct Patches {
  Conv2dShape shape;
  Layout in, out;
  int taken;      // of the input's rows and columns every `taken`-th is needed
  int stride;     // in the strip
  Chunks groups;  // of rows of the output
  std::size_t strip_rows, strip_width;
  std::size_t length, row;  // values of a patch, also in whole vectors
  std::size_t out_row;      // floats from one pixel's out channels to the next's, whole vectors

  Patches(const CpuExec& exec, const Conv2dShape& s)
      : shape(s),
        in(layout_of(exec, s.input())),
        out(layout_of(exec, s.output())),
        taken(s.kernel == 1 && s.padding == 0 ? s.stride : 1),
        stride(s.stride / taken),
        groups{std::size_t(s.out_h()), std::size_t(std::clamp(64 / s.out_w(), 1, s.out_h()))},
        strip_rows((groups.size - 1) * stride + s.kernel),
        strip_width(std::size_t(s.out_w() - 1) * stride + s.kernel),
        length(std::size_t(s.kernel) * s.kernel * s.c),
        row(round_up(length, std::size_t(exec.lanes()))),
        out_row(round_up(std::size_t(s.out_c), std::size_t(exec.lanes()))) {}

  std::size_t most_pixels() const { return groups.size * std::size_t(shape.out_w()); }
  int pixels(Range rows) const { return rows.size() * shape.out_w(); }
  std::size_t strip_floats() const { return round_up(in.blocks * strip_rows * strip_width * in.block, 16); }
  std::size_t outputs_floats() const { return most_pixels() * out_row; }
  std::size_t patches_floats() const { return most_pixels() * row; }
};

/// Where in a strip the group's pixels lie, and from there a patch's values; in scratch memory.
struct PatchPlaces {
  std::uint32_t *pixels, *values;

  static std::size_t floats(const Patches& p) { return round_up(p.most_pixels() + p.length, 16); }
  PatchPlaces(const Patches& p, float* memory)
      : pixels(reinterpret_cast<std::uint32_t*>(memory)), values(pixels + p.most_pixels()) {
    const auto place = [&p](std::size_t y, std::size_t x) {
      return static_cast<std::uint32_t>((y * p.strip_width + x) * std::size_t(p.in.block));
    };
    std::uint32_t* to = pixels;
    for (std::size_t y = 0; y < p.groups.size; ++y) {
      for (int x = 0; x < p.shape.out_w(); ++x) *to++ = place(y * p.stride, std::size_t(x) * p.stride);
    }
    for (int r = 0; r < p.shape.kernel; ++r) {
      for (int s = 0; s < p.shape.kernel; ++s) {
        for (int c = 0; c < p.shape.c; ++c) {
          *to++ = place(std::size_t(c / p.in.block) * p.strip_rows + r, s) + c % p.in.block;
        }
      }
    }
  }
};
static_assert(sizeof(std::uint32_t) == sizeof(float));

/// The strip of picture n that the output's `rows` depend on.
template <int W, class T>
NEPENTHE_INLINE void read_strip(const Patches& p, const T* x, int n, Range rows, float* strip) {
  const Conv2dShape& s = p.shape;
  const int first = static_cast<int>(rows.begin) * s.stride - s.padding;
  const std::size_t block = p.in.block, width = p.strip_width;
  // Columns of the strip that are inside the picture.
  const std::size_t begin = std::min(std::size_t(s.padding), width);
  const std::size_t inside = std::size_t(s.w + p.taken - 1) / p.taken, end = std::min(begin + inside, width);
  for (int k = 0; k < p.in.blocks; ++k) {
    const T* plane = x + p.in.offset(n, k);
    for (std::size_t i = 0; i < p.strip_rows; ++i, strip += width * block) {
      const int y = first + static_cast<int>(i) * p.taken;
      if (y < 0 || y >= s.h) {
        std::fill(strip, strip + width * block, 0.0f);
        continue;
      }
      std::fill(strip, strip + begin * block, 0.0f);
      const T* from = plane + std::size_t(y) * s.w * block;
      float* to = strip + begin * block;
      const std::size_t count = end - begin;
      if (p.taken > 1) {
        for (std::size_t column = 0; column < count; ++column) {
          for (std::size_t c = 0; c < block; ++c) to[column * block + c] = to_float(from[column * p.taken * block + c]);
        }
      } else {
        each<W>(
            count * block, [&](auto lanes, std::size_t at, auto)
                               __attribute__((always_inline)) { store<lanes>(to + at, load<lanes>(from + at)); });
      }
      std::fill(strip + end * block, strip + width * block, 0.0f);
    }
  }
}

/// Calls visit(patch, at, inside) for every pixel of the group and kernel position: where in a patch its channels
/// begin, and which pixel of the input they are of, if it is inside the picture.
template <class Visit>
NEPENTHE_INLINE void each_tap(const Patches& p, Range rows, Visit&& visit) {
  const Conv2dShape& s = p.shape;
  std::size_t patch = 0;
  for (std::size_t out_y = rows.begin; out_y < rows.end; ++out_y) {
    for (int out_x = 0; out_x < s.out_w(); ++out_x, patch += p.row) {
      const int y = static_cast<int>(out_y) * s.stride - s.padding, x = out_x * s.stride - s.padding;
      std::size_t at = patch;
      for (int r = 0; r < s.kernel; ++r) {
        for (int column = 0; column < s.kernel; ++column, at += std::size_t(s.c)) {
          const bool inside = y + r >= 0 && y + r < s.h && x + column >= 0 && x + column < s.w;
          visit(at, inside ? std::size_t(y + r) * s.w + std::size_t(x + column) : 0, inside);
        }
      }
    }
  }
}

/// Adds the patches' gradients to the picture's.
template <int W>
NEPENTHE_INLINE void add_patches(const Patches& p, float* picture, Range rows, const float* patches) {
  each_tap(
      p, rows, [&](std::size_t patch, std::size_t at, bool inside) __attribute__((always_inline)) {
        if (!inside) return;
        for (int block = 0; block < p.in.blocks; ++block) {
          float* to = picture + std::size_t(block) * p.in.run + at * p.in.block;
          const float* from = patches + patch + std::size_t(block) * p.in.block;
          if (p.in.block == 1) {
            *to += *from;
          } else {
            store<W>(to, load<W>(to) + load<W>(from));
          }
        }
      });
}

/// Calls visit(block, width) for every channel block of the output: vectors of its channels, or one channel each.
template <int W, class Visit>
NEPENTHE_INLINE void each_output_block(const Patches& p, Visit&& visit) {
  for (int block = 0; block < p.out.blocks; ++block) {
    if (p.out.block == 1) {
      visit(block, Width<1>());
    } else {
      visit(block, Width<W>());
    }
  }
}

/// outputs (pixels, out_row) of the gradients of the group's.
template <int W, class T>
NEPENTHE_INLINE void read_outputs(const Patches& p, const T* dy, int n, Range rows, float* outputs) {
  const auto pixels = static_cast<std::size_t>(p.pixels(rows)), first = rows.begin * std::size_t(p.shape.out_w());
  for (std::size_t i = 0; i < pixels; ++i) {
    std::fill(outputs + i * p.out_row + p.shape.out_c, outputs + (i + 1) * p.out_row, 0.0f);
  }
  each_output_block<W>(
      p, [&](int block, auto width) __attribute__((always_inline)) {
        const T* from = dy + p.out.offset(n, block) + first * width;
        float* to = outputs + block * width;
        for (std::size_t i = 0; i < pixels; ++i, to += p.out_row) store<width>(to, load<width>(from + i * width));
      });
}

/// One picture. filters: vector by vector of out channels, (length) vectors each.
template <int W, template <int, class> class Write, class T>
NEPENTHE_INLINE void forward_picture(const Patches* patches, const PatchPlaces* places, const Finish<T>* finish, int n,
                                     T* y, const T* x, const float* filters, float* strip) {
  const Patches& p = *patches;
  float* outputs = strip + p.strip_floats();
  for (int group = 0; group < p.groups.parts(); ++group) {
    const Range rows = p.groups[group];
    const auto pixels = static_cast<std::size_t>(p.pixels(rows)), first = rows.begin * std::size_t(p.shape.out_w());
    read_strip<W>(p, x, n, rows, strip);
    multiply<W>(Product<Places>{.rows = p.pixels(rows),
                                .depth = static_cast<int>(p.length),
                                .vectors = static_cast<int>(p.out_row) / W,
                                .c = outputs,
                                .c_row = p.out_row,
                                .c_vector = W,
                                .a = strip,
                                .a_rows = places->pixels,
                                .a_columns = places->values,
                                .b = filters,
                                .b_step = W,
                                .b_vector = p.length * W});
    each_output_block<W>(
        p, [&](int block, auto width) __attribute__((always_inline)) {
          const Write<width, T> put(*finish, y, block);
          const std::size_t at = p.out.offset(n, block) + first * width;
          const float* from = outputs + block * width;
          for (std::size_t i = 0; i < pixels; ++i, from += p.out_row) put(at + i * width, load<width>(from));
        });
  }
}

/// One picture, whose gradient is summed up in fp32 and rounded once. filters: vector by vector of a patch, (out
/// channels) vectors each.
template <int W, class T>
NEPENTHE_INLINE void backward_data_picture(const Patches* patches, int n, T* dx, bool adds, const T* dy,
                                           const float* filters, float* scratch) {
  const Patches& p = *patches;
  float* outputs = scratch + p.patches_floats();
  float* picture = outputs + p.outputs_floats();
  T* result = dx + p.in.offset(n, 0);
  const std::size_t count = p.in.offset(1, 0);
  each<W>(
      count, [&](auto width, std::size_t i, auto) __attribute__((always_inline)) {
        store<width>(picture + i, adds ? load<width>(result + i) : decltype(load<width>(result)){});
      });
  for (int group = 0; group < p.groups.parts(); ++group) {
    const Range rows = p.groups[group];
    read_outputs<W>(p, dy, n, rows, outputs);
    multiply<W>(Product<Strided>{.rows = p.pixels(rows),
                                 .depth = p.shape.out_c,
                                 .vectors = static_cast<int>(p.row) / W,
                                 .c = scratch,
                                 .c_row = p.row,
                                 .c_vector = W,
                                 .a = outputs,
                                 .a_rows = {p.out_row},
                                 .a_columns = {1},
                                 .b = filters,
                                 .b_step = W,
                                 .b_vector = std::size_t(p.shape.out_c) * W});
    add_patches<W>(p, picture, rows, scratch);
  }
  each<W>(
      count, [&](auto width, std::size_t i, auto)
                 __attribute__((always_inline)) { store<width>(result + i, load<width>(picture + i)); });
}

/// sums (length, out_row) of a chunk of pictures.
template <int W, class T>
NEPENTHE_INLINE void backward_weights_pictures(const Patches* patches, const PatchPlaces* places, Range pictures,
                                               float* sums, const T* dy, const T* x, float* strip) {
  const Patches& p = *patches;
  float* outputs = strip + p.strip_floats();
  for (std::size_t n = pictures.begin; n < pictures.end; ++n) {
    for (int group = 0; group < p.groups.parts(); ++group) {
      const Range rows = p.groups[group];
      read_strip<W>(p, x, static_cast<int>(n), rows, strip);
      read_outputs<W>(p, dy, static_cast<int>(n), rows, outputs);
      multiply<W>(Product<Places>{.rows = static_cast<int>(p.length),
                                  .depth = p.pixels(rows),
                                  .vectors = static_cast<int>(p.out_row) / W,
                                  .c = sums,
                                  .c_row = p.out_row,
                                  .c_vector = W,
                                  .a = strip,
                                  .a_rows = places->values,
                                  .a_columns = places->pixels,
                                  .b = outputs,
                                  .b_step = p.out_row,
                                  .b_vector = W,
                                  .adds = n > pictures.begin || group > 0});
    }
  }
}

/// to: vector by vector of `wide`, `deep` vectors each; element (d, i) of w is at d·deep_step + i·wide_step. What lies
/// past the end is 0.
template <int W, class T>
NEPENTHE_INLINE void pack(std::size_t vector, std::size_t wide, std::size_t wide_step, std::size_t deep,
                          std::size_t deep_step, const T* w, float* to) {
  const std::size_t first = vector * W;
  to += vector * deep * W;
  for (std::size_t d = 0; d < deep; ++d) {
    for (std::size_t lane = 0; lane < W; ++lane) {
      to[d * W + lane] = first + lane < wide ? to_float(w[d * deep_step + (first + lane) * wide_step]) : 0;
    }
  }
}

template <class T>
void pack(CpuExec& exec, std::size_t wide, std::size_t wide_step, std::size_t deep, std::size_t deep_step, const T* w,
          float* to) {
  const auto lanes = static_cast<std::size_t>(exec.lanes());
  exec.parallel(static_cast<int>((wide + lanes - 1) / lanes), [&](int vector, int) {
    on_isa<pack<16, T>, pack<8, T>, pack<4, T>>(exec.isa(), std::size_t(vector), wide, wide_step, deep, deep_step, w,
                                                to);
  });
}

/// dw (K, R, S, C) of a vector of out channels [+]= the chunks' sums, in order.
template <int W>
NEPENTHE_INLINE void deliver(const Patches* patches, int vector, int chunks, bool adds, float* dw, const float* sums) {
  const Patches& p = *patches;
  const int channels = std::min(W, p.shape.out_c - vector * W);
  for (std::size_t value = 0; value < p.length; ++value) {
    const float* from = sums + value * p.out_row + std::size_t(vector) * W;
    auto sum = load<W>(from);
    for (int chunk = 1; chunk < chunks; ++chunk) sum += load<W>(from + std::size_t(chunk) * p.length * p.out_row);
    for (int lane = 0; lane < channels; ++lane) {
      float& to = dw[(std::size_t(vector) * W + lane) * p.length + value];
      to = adds ? to + sum[lane] : sum[lane];
    }
  }
}

template <class T>
void patches_forward(CpuExec& exec, const Conv2dForward<T>& o) {
  const Conv2dShape& s = o.shape;
  const Patches p(exec, s);
  const std::size_t own = p.strip_floats() + p.outputs_floats(), filters_floats = p.out_row * p.length;
  const std::size_t places_floats = PatchPlaces::floats(p);
  float* filters = exec.workspace(filters_floats + p.out_row + places_floats + own * std::size_t(exec.threads()));
  const Finish<T> finish = scaled(o.output_norm, s.out_c, filters + filters_floats);
  const PatchPlaces places(p, filters + filters_floats + p.out_row);
  float* memory = filters + filters_floats + p.out_row + places_floats;
  pack(exec, std::size_t(s.out_c), p.length, p.length, 1, o.w, filters);
  exec.parallel(s.n, [&](int n, int thread) {
    const auto run = [&]<template <int, class> class Write>() {
      on_isa<forward_picture<16, Write, T>, forward_picture<8, Write, T>, forward_picture<4, Write, T>>(
          exec.isa(), &p, &places, &finish, n, o.y, o.x, static_cast<const float*>(filters),
          memory + own * std::size_t(thread));
    };
    if (finish.scale != nullptr) return run.template operator()<Finished>();
    run.template operator()<Assigned>();
  });
}

template <class T>
void patches_backward_data(CpuExec& exec, const Conv2dShape& s, T* dx, Accumulate accumulate, const T* dy, const T* w) {
  const Patches p(exec, s);
  const std::size_t own = p.patches_floats() + p.outputs_floats() + round_up(p.in.offset(1, 0), 16);
  const std::size_t filters_floats = p.row * std::size_t(s.out_c);
  float* filters = exec.workspace(filters_floats + own * std::size_t(exec.threads()));
  pack(exec, p.length, 1, std::size_t(s.out_c), p.length, w, filters);
  exec.parallel(s.n, [&](int n, int thread) {
    on_isa<backward_data_picture<16, T>, backward_data_picture<8, T>, backward_data_picture<4, T>>(
        exec.isa(), &p, n, dx, accumulate == Accumulate::add, dy, static_cast<const float*>(filters),
        filters + filters_floats + own * std::size_t(thread));
  });
}

template <class T>
void patches_backward_weights(CpuExec& exec, const Conv2dShape& s, float* dw, Accumulate accumulate, const T* dy,
                              const T* x) {
  const Patches p(exec, s);
  const Chunks chunks = chunks_at_most(most_partial_sums, s.n);
  const std::size_t own = p.strip_floats() + p.outputs_floats(), sums = p.length * p.out_row;
  const std::size_t places_floats = PatchPlaces::floats(p);
  float* partial =
      exec.workspace(sums * std::size_t(chunks.parts()) + places_floats + own * std::size_t(exec.threads()));
  const PatchPlaces places(p, partial + sums * std::size_t(chunks.parts()));
  float* memory = partial + sums * std::size_t(chunks.parts()) + places_floats;
  exec.parallel(chunks.parts(), [&](int chunk, int thread) {
    on_isa<backward_weights_pictures<16, T>, backward_weights_pictures<8, T>, backward_weights_pictures<4, T>>(
        exec.isa(), &p, &places, chunks[chunk], partial + sums * std::size_t(chunk), dy, x,
        memory + own * std::size_t(thread));
  });
  exec.parallel(static_cast<int>(p.out_row) / exec.lanes(), [&](int vector, int) {
    on_isa<deliver<16>, deliver<8>, deliver<4>>(exec.isa(), &p, vector, chunks.parts(), accumulate == Accumulate::add,
                                                dw, static_cast<const float*>(partial));
  });
}

}  // namespace

bool normalises_input(const CpuExec& exec, const Conv2dShape& shape) { return suits_winograd(exec, shape); }

template <class T>
void conv2d_forward(CpuExec& exec, const Conv2dForward<T>& o) {
  check(exec, o);
  if (suits_winograd(exec, o.shape)) return winograd_forward(exec, o);
  patches_forward(exec, o);
}

template <class T>
void conv2d_backward_data(CpuExec& exec, const Conv2dBackwardData<T>& o) {
  check("conv2d", o.shape);
  if (suits_winograd(exec, o.shape)) return winograd_backward_data(exec, o);
  patches_backward_data(exec, o.shape, o.dx, o.accumulate, o.dy, o.w);
}

template <class T>
void conv2d_backward_weights(CpuExec& exec, const Conv2dBackwardWeights<T>& o) {
  check(exec, o);
  if (suits_winograd(exec, o.shape)) return winograd_backward_weights(exec, o);
  patches_backward_weights(exec, o.shape, o.dw, o.accumulate, o.dy, o.x);
}

template void conv2d_forward(CpuExec&, const Conv2dForward<float>&);
template void conv2d_forward(CpuExec&, const Conv2dForward<bf16>&);
template void conv2d_backward_data(CpuExec&, const Conv2dBackwardData<float>&);
template void conv2d_backward_data(CpuExec&, const Conv2dBackwardData<bf16>&);
template void conv2d_backward_weights(CpuExec&, const Conv2dBackwardWeights<float>&);
template void conv2d_backward_weights(CpuExec&, const Conv2dBackwardWeights<bf16>&);

}  // namespace nepenthe::kernels
