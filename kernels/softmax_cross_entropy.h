// Softmax and cross entropy, fused; and where the true class ranks. Shapes without elements are std::invalid_argument.
#pragma once

#include <cstdint>

#include "kernels/exec_fwd.h"
#include "kernels/shapes.h"

namespace nepenthe::kernels {

/// losses = −log softmax(logits)[label], each a sample's own. A non-finite logit gives a non-finite loss.
/// ranks = how many classes stand before the true one, larger scores first, ties to the lower class id: a sample is
/// right among the top k where its rank is below k. A row with a NaN ranks last.
struct SoftmaxCrossEntropyForward {
  LogitsShape shape;
  float* losses;               // (rows)
  std::int32_t* ranks;         // (rows)
  const float* logits;         // (rows, classes)
  const std::int32_t* labels;  // (rows), in [0, classes)
};
void softmax_cross_entropy_forward(CpuExec& exec, const SoftmaxCrossEntropyForward& operands);
void softmax_cross_entropy_forward(CudaExec& exec, const SoftmaxCrossEntropyForward& operands);

/// dlogits = scale·(softmax(logits) − one-hot(label)).
struct SoftmaxCrossEntropyBackward {
  LogitsShape shape;
  float* dlogits;  // (rows, classes)
  Accumulate accumulate;
  const float* logits;         // (rows, classes)
  const std::int32_t* labels;  // (rows), in [0, classes)
  float scale;                 // 1/rows for the mean loss; below zero the loss is climbed
};
void softmax_cross_entropy_backward(CpuExec& exec, const SoftmaxCrossEntropyBackward& operands);
void softmax_cross_entropy_backward(CudaExec& exec, const SoftmaxCrossEntropyBackward& operands);

}  // namespace nepenthe::kernels
