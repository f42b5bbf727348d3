#include "kernels/conv2d.h"

#include <algorithm>
#include <stdexcept>

#include <fmt/core.h>
#include <omp.h>

#include "kernels/cpu/chunks.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/onednn.h"

namespace nepenthe::kernels {
namespace {

Conv2dShape with_images(Conv2dShape shape, std::size_t images) {
  shape.n = static_cast<int>(images);
  return shape;
}

/// One convolution over a batch: the chunks, the plan of the full ones and that of a smaller last one.
struct Batch {
  Chunks chunks;
  ConvPlan* full;
  ConvPlan* last;                           // == full if the last chunk is full too
  std::size_t input_floats, output_floats;  // of one image

  Batch(CpuExec& exec, ConvKind kind, const Conv2dShape& shape)
      : chunks(chunks_of_images(shape.n)),
        full(&exec.onednn().plan(exec, kind, with_images(shape, chunks.size))),
        last(full),
        input_floats(with_images(shape, 1).input().size()),
        output_floats(with_images(shape, 1).output().size()) {
    const auto rest = chunks.count % chunks.size;
    if (rest != 0) last = &exec.onednn().plan(exec, kind, with_images(shape, rest));
  }

  bool one_format() const { return full->weights == last->weights; }
  ConvPlan& plan(int chunk) const { return chunk + 1 == chunks.parts() ? *last : *full; }
  std::size_t scratchpad_floats() const { return std::max(full->scratchpad_floats, last->scratchpad_floats); }
};

/// Runs `body`; oneDNN's errors become ones that say of what.
template <class Body>
void with_context(const char* what, const Conv2dShape& shape, Body&& body) {
  check("conv2d", shape);
  // The calling thread need not be the one that made the CpuExec; by our team alone work is divided.
  omp_set_num_threads(1);
  try {
    body();
  } catch (const dnnl::error& error) {
    throw std::runtime_error(fmt::format("[conv2d] oneDNN in {}: {} (status {}); {}", what, error.message,
                                         static_cast<int>(error.status), text(shape)));
  }
}

void to_format(ConvPlan& plan, dnnl::stream& stream, const float* w, float* formatted) {
  plan.plain.set_data_handle(const_cast<float*>(w));
  plan.formatted.set_data_handle(formatted);
  plan.reorder.execute(stream, plan.plain, plan.formatted);
}

/// Filters in the formats of both plans.
struct FormattedWeights {
  float* full;
  float* last;

  static std::size_t floats(const Batch& batch) {
    return batch.full->weights_floats + (batch.one_format() ? 0 : batch.last->weights_floats);
  }
  FormattedWeights(CpuExec& exec, const Batch& batch, const float* w, float* memory) : full(memory), last(memory) {
    dnnl::stream& stream = exec.onednn().streams[0];
    to_format(*batch.full, stream, w, full);
    if (!batch.one_format()) {
      last = memory + batch.full->weights_floats;
      to_format(*batch.last, stream, w, last);
    }
  }
  const float* of(const Batch& batch, int chunk) const { return chunk + 1 == batch.chunks.parts() ? last : full; }
};

/// sum (count) = terms (parts, stride)[0] + terms[1] + …, in this order.
template <int W>
NEPENTHE_INLINE void sum_in_order(std::size_t count, float* sum, const float* terms, int parts, std::size_t stride) {
  each<W>(
      count, [&](auto width, std::size_t i, auto) __attribute__((always_inline)) {
        auto total = load<width>(terms + i);
        for (int part = 1; part < parts; ++part) total += load<width>(terms + stride * std::size_t(part) + i);
        store<width>(sum + i, total);
      });
}

}  // namespace

template <class T>
void conv2d_forward(CpuExec& exec, const Conv2dForward<T>& o) {
  const Conv2dShape& shape = o.shape;
  with_context("conv2d_forward", shape, [&] {
    const Batch batch(exec, ConvKind::forward, shape);
    const std::size_t weights_floats = FormattedWeights::floats(batch), scratch = batch.scratchpad_floats();
    float* memory = exec.workspace(weights_floats + scratch * std::size_t(exec.threads()));
    const FormattedWeights weights(exec, batch, o.w, memory);
    exec.parallel(batch.chunks.parts(), [&](int chunk, int thread) {
      const std::size_t n = batch.chunks[chunk].begin;
      batch.plan(chunk).execute(ConvKind::forward, exec.onednn().streams[std::size_t(thread)], thread,
                                o.x + n * batch.input_floats, weights.of(batch, chunk), o.y + n * batch.output_floats,
                                memory + weights_floats + scratch * std::size_t(thread));
    });
  });
}

template <class T>
void conv2d_backward_data(CpuExec& exec, const Conv2dBackwardData<T>& o) {
  const Conv2dShape& shape = o.shape;
  with_context("conv2d_backward_data", shape, [&] {
    const Batch batch(exec, ConvKind::backward_data, shape);
    const std::size_t weights_floats = FormattedWeights::floats(batch), scratch = batch.scratchpad_floats();
    const bool adds = o.accumulate == Accumulate::add;
    const std::size_t chunk_floats = adds ? (batch.chunks.size * batch.input_floats + 15) / 16 * 16 : 0;
    float* memory = exec.workspace(weights_floats + (scratch + chunk_floats) * std::size_t(exec.threads()));
    const FormattedWeights weights(exec, batch, o.w, memory);
    exec.parallel(batch.chunks.parts(), [&](int chunk, int thread) {
      const Range images = batch.chunks[chunk];
      float* own = memory + weights_floats + (scratch + chunk_floats) * std::size_t(thread);
      float* to = o.dx + images.begin * batch.input_floats;
      float* result = adds ? own + scratch : to;
      batch.plan(chunk).execute(ConvKind::backward_data, exec.onednn().streams[std::size_t(thread)], thread, result,
                                weights.of(batch, chunk), o.dy + images.begin * batch.output_floats, own);
      if (adds) {  // at once, while it is in the cache
        on_isa<add_to<16>, add_to<8>>(exec.isa(), (images.end - images.begin) * batch.input_floats, to, result);
      }
    });
  });
}

template <class T>
void conv2d_backward_weights(CpuExec& exec, const Conv2dBackwardWeights<T>& o) {
  const Conv2dShape& shape = o.shape;
  with_context("conv2d_backward_weights", shape, [&] {
    const Batch batch(exec, ConvKind::backward_weights, shape);
    const std::size_t stride = std::max(batch.full->weights_floats, batch.last->weights_floats);
    const std::size_t scratch = batch.scratchpad_floats();
    const int chunks = batch.chunks.parts();
    // A partial gradient for each chunk, their sum, and that as (K, R, S, C); then the threads' scratch memory.
    const std::size_t plain_floats = (shape.weights() + 15) / 16 * 16;
    float* partial =
        exec.workspace(stride * std::size_t(chunks + 1) + plain_floats + scratch * std::size_t(exec.threads()));
    float* sum = partial + stride * std::size_t(chunks);
    float* plain = sum + stride;
    float* scratchpads = plain + plain_floats;
    exec.parallel(chunks, [&](int chunk, int thread) {
      const std::size_t n = batch.chunks[chunk].begin;
      batch.plan(chunk).execute(ConvKind::backward_weights, exec.onednn().streams[std::size_t(thread)], thread,
                                o.x + n * batch.input_floats, partial + stride * std::size_t(chunk),
                                o.dy + n * batch.output_floats, scratchpads + scratch * std::size_t(thread));
    });

    // The chunks of one format are summed in it; a last one in another format is added after the reorder.
    const bool one_format = batch.one_format();
    const int alike = one_format ? chunks : chunks - 1;
    const Chunks parts = parts_of_array(batch.full->weights_floats);
    exec.parallel(parts.parts(), [&](int part, int) {
      const Range range = parts[part];
      on_isa<sum_in_order<16>, sum_in_order<8>>(exec.isa(), range.end - range.begin, sum + range.begin,
                                                partial + range.begin, alike, stride);
    });
    const auto deliver = [&](ConvPlan& plan, float* formatted, bool adds) {
      float* to = adds ? plain : o.dw;
      plan.formatted.set_data_handle(formatted);
      plan.plain.set_data_handle(to);
      plan.reorder.execute(exec.onednn().streams[0], plan.formatted, plan.plain);
      if (adds) on_isa<add_to<16>, add_to<8>>(exec.isa(), shape.weights(), o.dw, plain);
    };
    deliver(*batch.full, sum, o.accumulate == Accumulate::add);
    if (!one_format) deliver(*batch.last, partial + stride * std::size_t(chunks - 1), true);
  });
}

template void conv2d_forward(CpuExec&, const Conv2dForward<float>&);
template void conv2d_backward_data(CpuExec&, const Conv2dBackwardData<float>&);
template void conv2d_backward_weights(CpuExec&, const Conv2dBackwardWeights<float>&);

}  // namespace nepenthe::kernels
