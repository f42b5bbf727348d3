// Precisions to compute in.
#pragma once

#include <string_view>

namespace nepenthe::kernels {

/// Arithmetic of convolutions and matrix products, and storage of activations: fp32 (true fp32 throughout), tf32 (fp32
/// storage, products in TF32), bf16 (activations and filters stored as bf16, accumulation in fp32).
enum class Precision { fp32, tf32, bf16 };

/// "fp32", "tf32" or "bf16".
std::string_view name(Precision precision);

}  // namespace nepenthe::kernels
