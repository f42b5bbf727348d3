// Pictures in files: PNG and JPEG in, PNG out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

namespace nepenthe {

/// `width` × `height` pixels of R, G and B, row by row from the top: (height, width, 3).
struct Picture {
  int width = 0, height = 0;
  std::vector<std::uint8_t> rgb;
};

inline constexpr std::int64_t most_pixels = std::int64_t{1} << 26;  // 8192 × 8192
inline constexpr std::size_t most_picture_bytes = std::size_t{1} << 28;

/// Reads a PNG or a JPEG file, recognised by its contents, of at most `most_picture_bytes`. Grey becomes R = G = B, of
/// 16 bits the upper 8 count, what is transparent shows white, and a JPEG is turned as its camera noted (Exif); colour
/// profiles are passed over. Throws Error, in one line: the file, what was wrong, what would be right.
Picture read_picture(const std::filesystem::path& path);

/// The same from memory, of at most `most_picture_bytes`; `source` stands for the file in messages. A picture that
/// claims more pixels than `most` is refused before anything is decoded.
Picture parse_picture(std::span<const std::byte> file, std::string_view source, std::int64_t most = most_pixels);

/// The largest square in the middle of a picture, with `side` pixels a side, each the mean of the area under it,
/// rounded to nearest: of more pixels or, enlarging, of a part of one. The same number of pixels is the same bytes.
/// Throws std::invalid_argument where there is no pixel.
Picture centre_square(const Picture& picture, int side);

/// Writes a PNG, in one step as write_file_atomically does. Throws Error where the file cannot be written.
void write_png(const std::filesystem::path& path, const Picture& picture);

}  // namespace nepenthe
