// NumPy's .npy format: arrays of numbers for and from other programs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

#include "engine/formats/host_tensor.h"

namespace nepenthe {

/// Writes values in row-major order as fp32 .npy (format 1.0), in one step as write_file_atomically does. Throws Error
/// where the number of values is not the shape's or the file cannot be written.
void write_npy(const std::filesystem::path& path, std::span<const float> values, std::span<const std::int64_t> shape);

/// Reads a .npy file (format 1.0, 2.0 or 3.0) of booleans, whole numbers (i1 … i8, u1 … u8) or floating point (f2, f4,
/// f8) of either byte order, in C or Fortran order. Throws Error, in one line: the file, what was wrong, what would be
/// right.
HostTensor read_npy(const std::filesystem::path& path);

/// The same from memory; `source` stands for the file in messages.
HostTensor parse_npy(std::span<const std::byte> file, std::string_view source);

/// Whether a file begins as .npy files do.
bool is_npy(std::span<const std::byte> file);

}  // namespace nepenthe
