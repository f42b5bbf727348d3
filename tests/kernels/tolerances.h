// How far kernels may be from the references in double: ‖kernel − reference‖ / ‖reference‖. One table, so that nothing
// is loosened unseen.
#pragma once

namespace nepenthe::tests {

/// fp32 in a good order of summation: single roundings are 6e-8, and errors of sums grow with the root of their length.
/// Measured: direct convolutions up to 4.6e-7; linear layers, pooling and softmax up to 2.1e-7. Batch normalisation of
/// data whose mean is a thousand deviations away has a limit of its own, in its test.
constexpr double fp32_tolerance = 1e-5;

/// Winograd's F(4×4, 3×3) multiplies rounding errors by its transforms' entries. Measured: up to 8.3e-7 (32 and 64
/// channels, all three convolutions), less than twice the direct ones'.
constexpr double winograd_tolerance = 5e-6;

/// Hand-written backward of a reference against its complex step, both in double.
constexpr double reference_tolerance = 1e-9;

}  // namespace nepenthe::tests
