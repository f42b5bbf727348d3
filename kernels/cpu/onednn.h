// oneDNN's convolutions, one primitive for each chunk shape, each run by one thread of our own team.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>

#include "kernels/cpu_exec.h"
#include "kernels/shapes.h"

namespace nepenthe::kernels {

enum class ConvKind { forward, backward_data, backward_weights };

/// A convolution primitive for a chunk of images. `input` stands for x or dx, `output` for y or dy, `weights` for w or
/// dw. Input and output lie in the backend's layout, weights in the format that the primitive likes best.
struct ConvPlan {
  /// Handles to a thread's operands, made once and pointed elsewhere for each chunk.
  struct Operands {
    dnnl::memory input, weights, output, scratchpad;
  };

  dnnl::primitive primitive;
  dnnl::memory::desc weights;
  std::size_t weights_floats, scratchpad_floats;  // multiples of 16, so that neighbours stay aligned
  std::vector<Operands> operands;                 // of each thread
  dnnl::reorder reorder;                          // (K, R, S, C) into weights; for dw the other way
  dnnl::memory plain, formatted;                  // its operands
  std::string implementation;                     // oneDNN's name for it

  /// Runs the primitive; called by one thread of the team.
  void execute(ConvKind kind, dnnl::stream& stream, int thread, const float* input, const float* weights_memory,
               const float* output, float* scratchpad);
};

struct OneDnn {
  explicit OneDnn(int threads);

  /// The primitive for a chunk of shape.n images, made at the first call.
  ConvPlan& plan(const CpuExec& exec, ConvKind kind, const Conv2dShape& shape);

  dnnl::engine engine;
  std::vector<dnnl::stream> streams;  // of each thread
  std::map<std::pair<ConvKind, Conv2dShape>, ConvPlan> plans;
};

}  // namespace nepenthe::kernels
