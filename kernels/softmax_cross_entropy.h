// Softmax and cross entropy, fused; and where the true class ranks.
#pragma once

#include <cstdint>

#include "kernels/exec.h"
#include "kernels/shapes.h"

namespace nepenthe::kernels {

/// losses (rows) = −log softmax(logits (rows, classes))[label], each a sample's own; labels (rows) in [0, classes).
/// A non-finite logit gives a non-finite loss.
/// ranks (rows) = how many classes stand before the true one, larger scores first, ties to the lower class id: a sample
/// is right among the top k where its rank is below k. A row with a NaN ranks last.
void softmax_cross_entropy_forward(CpuExec& exec, const LogitsShape& shape, float* losses, std::int32_t* ranks,
                                   const float* logits, const std::int32_t* labels);

/// dlogits (rows, classes), assigned, = scale·(softmax(logits) − one-hot(label)); scale = 1/rows for the mean loss.
void softmax_cross_entropy_backward(CpuExec& exec, const LogitsShape& shape, float* dlogits, const float* logits,
                                    const std::int32_t* labels, float scale);

#if defined(NEPENTHE_CUDA)
void softmax_cross_entropy_forward(CudaExec& exec, const LogitsShape& shape, float* losses, std::int32_t* ranks,
                                   const float* logits, const std::int32_t* labels);
void softmax_cross_entropy_backward(CudaExec& exec, const LogitsShape& shape, float* dlogits, const float* logits,
                                    const std::int32_t* labels, float scale);
#endif

}  // namespace nepenthe::kernels
