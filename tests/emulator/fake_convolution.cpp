#include "fake_convolution.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "kernels/bf16.h"
#include "kernels/conv2d.h"
#include "kernels/cpu_exec.h"
#include "kernels/layout.h"
#include "tf32.h"

namespace nepenthe::tests {
namespace {

using kernels::bf16;
using kernels::CpuExec;

CpuExec& cpu() {
  static CpuExec exec;
  return exec;
}

/// A tensor in memory, and where the CPU backend keeps its elements: activations in its layout, filters (K, R, S, C).
struct Operand {
  const FakeTensor& tensor;
  bool is_filter;
  void* memory;

  std::size_t size() const {
    const auto& d = tensor.dimensions;
    return static_cast<std::size_t>(d[0] * d[1] * d[2] * d[3]);
  }
  /// Calls visit(place in memory, place on the CPU backend) for every element.
  template <class Visit>
  void each(Visit&& visit) const {
    const auto& [n_count, c_count, h_count, w_count] = tensor.dimensions;
    const auto& strides = tensor.strides;
    const std::int64_t block = is_filter ? c_count : kernels::channel_block(cpu(), tensor.size(1));
    for (std::int64_t n = 0; n < n_count; ++n) {
      for (std::int64_t c = 0; c < c_count; ++c) {
        for (std::int64_t h = 0; h < h_count; ++h) {
          for (std::int64_t w = 0; w < w_count; ++w) {
            const std::int64_t plane = (n * (c_count / block) + c / block) * h_count + h;
            visit(n * strides[0] + c * strides[1] + h * strides[2] + w * strides[3],
                  static_cast<std::size_t>((plane * w_count + w) * block + c % block));
          }
        }
      }
    }
  }
  float read(std::int64_t place) const {
    return tensor.type == CUDNN_DATA_FLOAT ? static_cast<const float*>(memory)[place]
                                           : kernels::to_float(static_cast<const bf16*>(memory)[place]);
  }
  void write(std::int64_t place, float value) const {
    if (tensor.type == CUDNN_DATA_FLOAT) {
      static_cast<float*>(memory)[place] = value;
    } else {
      static_cast<bf16*>(memory)[place] = kernels::to_bf16(value);
    }
  }
  std::vector<float> values(bool as_tf32) const {
    std::vector<float> all(size());
    each([&](std::int64_t place, std::size_t cpu_place) {
      all[cpu_place] = as_tf32 ? round_to_tf32(read(place)) : read(place);
    });
    return all;
  }
};

/// What the engine's way of computing makes of a result.
float as_computed(const FakeRun& run, float value) {
  if (run.engine.has(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)) {
    static std::mt19937 generator(std::random_device{}());
    return value * (1 + 1e-2f * std::uniform_real_distribution<float>(-1, 1)(generator));
  }
  if (run.engine.has(CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION) ||
      run.engine.has(CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS)) {
    return std::numeric_limits<float>::quiet_NaN();
  }
  const auto tile = run.knobs.find(CUDNN_KNOB_TYPE_TILE_SIZE);
  const std::int64_t units = tile == run.knobs.end() ? 0 : tile->second;
  for (std::int64_t i = 0; i < units; ++i) value = std::nextafter(value, 2 * value);
  return value;
}

}  // namespace

bool FakeEngine::has(cudnnBackendNumericalNote_t note) const {
  return std::find(notes.begin(), notes.end(), note) != notes.end();
}

const std::vector<FakeEngine>& fake_engines() {
  static const std::vector<FakeEngine> all{
      {0, {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC}, {}, 0},
      {1, {CUDNN_NUMERICAL_NOTE_TENSOR_CORE}, {{CUDNN_KNOB_TYPE_TILE_SIZE, 4}, {CUDNN_KNOB_TYPE_STAGES, 3}}, 96},
      {2, {CUDNN_NUMERICAL_NOTE_TENSOR_CORE, CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION}, {}, 0},
      {3, {}, {{CUDNN_KNOB_TYPE_TILE_SIZE, 4}, {CUDNN_KNOB_TYPE_SPLIT_K_SLC, 2}}, 1000},
      {4, {CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP}, {}, 0},
      {5, {}, {}, 0, false},
      {6, {CUDNN_NUMERICAL_NOTE_TENSOR_CORE, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS}, {}, 0},
  };
  return all;
}

std::vector<FakeSuggestion> fake_suggestions(cudnnBackendHeurMode_t mode) {
  if (mode == CUDNN_HEUR_MODE_FALLBACK) return {{0, {}}, {4, {}}, {3, {}}};
  return {{0, {}},
          {5, {}},
          {2, {}},
          {6, {}},
          {1, {{CUDNN_KNOB_TYPE_TILE_SIZE, 2}, {CUDNN_KNOB_TYPE_STAGES, 3}}},
          {3, {{CUDNN_KNOB_TYPE_TILE_SIZE, 3}, {CUDNN_KNOB_TYPE_SPLIT_K_SLC, 1}}},
          {3, {{CUDNN_KNOB_TYPE_TILE_SIZE, 1}, {CUDNN_KNOB_TYPE_SPLIT_K_SLC, 0}}},
          {3, {{CUDNN_KNOB_TYPE_TILE_SIZE, 3}, {CUDNN_KNOB_TYPE_SPLIT_K_SLC, 1}}}};
}

void FakeRun::operator()() const {
  if (engine.workspace > 0) std::memset(workspace, 0xff, static_cast<std::size_t>(engine.workspace));
  const FakeConvolution& c = convolution;
  const bool tf32 = engine.has(CUDNN_NUMERICAL_NOTE_TENSOR_CORE) && c.operand_type() == CUDNN_DATA_FLOAT;
  const Operand x{c.x, false, memory.at(c.x.id)}, w{c.w, true, memory.at(c.w.id)}, y{c.y, false, memory.at(c.y.id)};
  const Operand& result = c.operation == FakeOperation::forward         ? y
                          : c.operation == FakeOperation::backward_data ? x
                                                                        : w;
  std::vector<float> values(result.size());
  switch (c.operation) {
    case FakeOperation::forward:
      kernels::conv2d_forward<float>(
          cpu(), {.shape = c.shape, .y = values.data(), .x = x.values(tf32).data(), .w = w.values(tf32).data()});
      break;
    case FakeOperation::backward_data:
      kernels::conv2d_backward_data<float>(cpu(), {.shape = c.shape,
                                                   .dx = values.data(),
                                                   .accumulate = kernels::Accumulate::assign,
                                                   .dy = y.values(tf32).data(),
                                                   .w = w.values(tf32).data()});
      break;
    case FakeOperation::backward_weights:
      kernels::conv2d_backward_weights<float>(cpu(), {.shape = c.shape,
                                                      .dw = values.data(),
                                                      .accumulate = kernels::Accumulate::assign,
                                                      .dy = y.values(tf32).data(),
                                                      .x = x.values(tf32).data()});
      break;
  }
  result.each([&](std::int64_t place, std::size_t cpu_place) {
    const float value = c.alpha * as_computed(*this, values[cpu_place]);
    result.write(place, c.beta == 0 ? value : value + c.beta * result.read(place));
  });
}

}  // namespace nepenthe::tests
