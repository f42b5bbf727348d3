// How far kernels may be from the references in double: ‖kernel − reference‖ / ‖reference‖. One table, so that nothing
// is loosened unseen.
#pragma once

#include <cstddef>

namespace nepenthe::tests {

/// fp32 in a good order of summation: single roundings are 6e-8, and errors of sums grow with the root of their length.
/// Measured: direct convolutions up to 4.6e-7; linear layers, pooling and softmax up to 2.1e-7. Batch normalisation of
/// data whose mean is a thousand deviations away has a limit of its own, in its test. With activations in bf16 this
/// holds for all that stays fp32: statistics, parameter gradients, losses, pooled rows.
constexpr double fp32_tolerance = 1e-5;

/// Winograd's F(4×4, 3×3) multiplies rounding errors by its transforms' entries. Measured: up to 8.3e-7 (32 and 64
/// channels, all three convolutions), less than twice the direct ones'.
constexpr double winograd_tolerance = 5e-6;

/// Results stored as bf16, of inputs that are bf16 already; arithmetic is in fp32. With 8 significant bits, rounding to
/// nearest changes an element by at most 2^-8 of it, and arrays of random numbers by 1.6e-3 in norm; cutting off would
/// change them by 3.1e-3. The norm of a few elements may be that of the worst.
constexpr double bf16_tolerance(std::size_t elements) { return elements < 100 ? 0x1.0p-8 + fp32_tolerance : 2.5e-3; }

/// Products of fp32 numbers in TF32: 11 significant bits of each factor, rounded (2^-12 of it in the mean) or cut off
/// (2^-11 in the mean, always to the same side).
constexpr double tf32_tolerance = 2e-3;

/// Hand-written backward of a reference against its complex step, both in double.
constexpr double reference_tolerance = 1e-9;

}  // namespace nepenthe::tests
