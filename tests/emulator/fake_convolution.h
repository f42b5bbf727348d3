// What the fake cuDNN computes, and with which engines.
#pragma once

#include <cudnn.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "kernels/shapes.h"

namespace nepenthe::tests {

/// fp32 or bf16, of dimensions (n, c, h, w) or (k, c, r, s).
struct FakeTensor {
  std::int64_t id, alignment;
  cudnnDataType_t type;
  std::array<std::int64_t, 4> dimensions, strides;

  int size(std::size_t dimension) const { return static_cast<int>(dimensions[dimension]); }
};

enum class FakeOperation { forward, backward_data, backward_weights };

struct FakeConvolution {
  FakeOperation operation;
  kernels::Conv2dShape shape;
  FakeTensor x, w, y;
  float alpha, beta;

  const FakeTensor& result() const {
    return operation == FakeOperation::forward ? y : operation == FakeOperation::backward_data ? x : w;
  }
  cudnnDataType_t operand_type() const { return operation == FakeOperation::forward ? x.type : y.type; }
};

using FakeKnobs = std::map<cudnnBackendKnobType_t, std::int64_t>;

struct FakeEngine {
  std::int64_t index;
  std::vector<cudnnBackendNumericalNote_t> notes;
  FakeKnobs most;          // the knobs that it has, with their greatest value
  std::int64_t workspace;  // bytes
  bool takes_graphs = true;

  bool has(cudnnBackendNumericalNote_t note) const;
};

/// By index.
const std::vector<FakeEngine>& fake_engines();

struct FakeSuggestion {
  std::int64_t index;
  FakeKnobs knobs;
};

/// Those that must not be taken come first; one comes twice.
std::vector<FakeSuggestion> fake_suggestions(cudnnBackendHeurMode_t mode);

struct FakeRun {
  FakeConvolution convolution;
  FakeEngine engine;
  FakeKnobs knobs;
  std::map<std::int64_t, void*> memory;  // of tensors, by id
  void* workspace;

  /// By the CPU backend. Each engine and knob gives other bits, as cuDNN's do; those of too low a precision round their
  /// operands or spoil the result, one that is not deterministic changes it at random, and all of a workspace is
  /// written.
  void operator()() const;
};

}  // namespace nepenthe::tests
