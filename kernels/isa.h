// Instruction sets of the CPU's kernels.
#pragma once

#include <optional>
#include <string_view>

#include "kernels/precision.h"

namespace nepenthe::kernels {

/// The x86-64 psABI's levels that the CPU kernels are compiled for, chosen at run time.
enum class Isa { v2 = 2, v3 = 3, v4 = 4 };

/// "x86-64-v2", "x86-64-v3" or "x86-64-v4".
std::string_view name(Isa isa);
/// The inverse of name(); empty for other spellings.
std::optional<Isa> isa_named(std::string_view name);
/// Whether this processor has it, with what its kernels need beside: in bf16, x86-64-v4's round by AVX512-BF16's
/// instruction (Zen 4, Cooper Lake, Sapphire Rapids and their successors have it).
bool has(Isa isa, Precision precision = Precision::fp32);
/// The one that $NEPENTHE_ISA asks for; empty where it is not set. Throws std::invalid_argument for other spellings.
std::optional<Isa> isa_asked_for();

}  // namespace nepenthe::kernels
