// cuDNN's own batch normalisation on the shapes of ours, as the measure for it.
#pragma once

#include "bench/kernel_bench.h"
#include "kernels/shapes.h"

namespace nepenthe::bench {

/// Times cudnnBatchNormalizationForwardTraining and -Backward, persistent mode, NHWC, T float or bf16; without ReLU and
/// residual, which this interface does not fuse.
template <class T>
void run_cudnn_batch_norm(KernelBench& bench, const kernels::ImageShape& shape);

}  // namespace nepenthe::bench
