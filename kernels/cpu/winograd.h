// Winograd's algorithm F(4 × 4, 3 × 3) (Lavin & Gray, "Fast algorithms for convolutional neural networks", CVPR 2016):
// 3 × 3 convolutions of stride 1 with a quarter of the multiplications, in all three directions.
//
// A tile of 4 × 4 outputs depends on 6 × 6 inputs; both and the filters are transformed to 36 values, at which the
// convolution is a product of matrices (tiles, in channels) · (in channels, out channels). The points of interpolation
// are 0, ±5/8, ±3/2 and ∞, whose errors are half those of 0, ±1, ±2 and ∞ (6e-7 of the result for 32 channels).
#pragma once

#include "kernels/conv2d.h"
#include "kernels/cpu_exec.h"
#include "kernels/shapes.h"

namespace nepenthe::kernels {

/// 3 × 3, stride 1, whole vectors of channels on both sides.
bool suits_winograd(const CpuExec& exec, const Conv2dShape& shape);

template <class T>
void winograd_forward(CpuExec& exec, const Conv2dForward<T>& operands);
template <class T>
void winograd_backward_data(CpuExec& exec, const Conv2dBackwardData<T>& operands);
template <class T>
void winograd_backward_weights(CpuExec& exec, const Conv2dBackwardWeights<T>& operands);

}  // namespace nepenthe::kernels
