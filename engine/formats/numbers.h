// Lists of numbers that a person or another program wrote, as text or as NumPy's .npy.
//
// Text: one number a line, or all of them in one line with blanks between, in any notation that C knows for decimals:
// what numpy.savetxt writes. '#' begins a comment; see engine/formats/text_lines.h for the rest.
// .npy: an array of which at most one dimension is longer than 1, so (N,), (N, 1) or (1, N); see engine/formats/npy.h
// for the types.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace nepenthe {

/// Finite numbers, at least one. Throws Error that names the file, and the line, or the element counted from 0, that is
/// wrong.
std::vector<double> read_numbers(const std::filesystem::path& path);

/// Whole numbers from 0 to `records` - 1, in the file's order, at least one: a list of them in any of the forms above,
/// or a .npy mask of `records` booleans, which names the records where it is true. Throws Error as read_numbers does; a
/// mask of numbers (as many as records, all 0 or 1) is refused, as it would be read as records 0 and 1.
std::vector<std::int32_t> read_record_numbers(const std::filesystem::path& path, std::size_t records);

}  // namespace nepenthe
