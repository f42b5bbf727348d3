// Numbers in files for and from other programs: NumPy's .npy format and plain text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

namespace nepenthe {

/// Writes values in row-major order as fp32 .npy (format 1.0), in one step as write_file_atomically does. Throws Error
/// where the number of values is not the shape's or the file cannot be written.
void write_npy(const std::filesystem::path& path, std::span<const float> values, std::span<const std::int64_t> shape);

struct NpyArray {
  std::vector<std::int64_t> shape;
  std::vector<double> values;  // row major
};

/// Reads a .npy file of little-endian fp32 or fp64 in row-major order. Throws Error, in one line: the file, what was
/// wrong, what would be right.
NpyArray read_npy(const std::filesystem::path& path);

/// The same from memory; `source` stands for the file in messages.
NpyArray parse_npy(std::span<const std::byte> file, std::string_view source);

/// A list of finite numbers: a 1-d .npy file, or text with one number a line. Throws Error that names the line, or the
/// element counted from 0, that is none.
std::vector<double> read_numbers(const std::filesystem::path& path);

}  // namespace nepenthe
