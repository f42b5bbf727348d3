#include "engine/formats/pictures.h"

#include <fmt/format.h>
#include <stb/stb_image.h>
#include <stb/stb_image_write.h>

#include <algorithm>
#include <array>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>

#include "engine/base/error.h"
#include "engine/base/file.h"

namespace nepenthe {
namespace {

constexpr std::string_view png_start = "\x89PNG\r\n\x1a\n";
constexpr std::string_view jpeg_start = "\xff\xd8\xff";

template <class... Args>
[[noreturn]] void fail(std::string_view source, fmt::format_string<Args...> what, Args&&... args) {
  throw Error(fmt::format("{}: {}", source, fmt::format(what, std::forward<Args>(args)...)));
}

/// The whole number in `count` bytes, 0 where they are not all there.
std::uint32_t number_at(std::string_view bytes, std::size_t at, std::size_t count, bool big_endian) {
  if (at > bytes.size() || count > bytes.size() - at) return 0;
  std::uint32_t number = 0;
  for (std::size_t i = 0; i < count; ++i) {
    number = number << 8U | static_cast<unsigned char>(bytes[at + (big_endian ? i : count - 1 - i)]);
  }
  return number;
}

/// The tag Orientation of Exif data (Exif 2.3, 4.6.4): 1 … 8; 1, upright, where there is none.
int orientation_in(std::string_view exif) {
  constexpr std::size_t entry_bytes = 12;
  const bool big_endian = exif.starts_with("MM");
  const auto number = [&](std::size_t at, std::size_t count) { return number_at(exif, at, count, big_endian); };
  const std::size_t directory = number(4, 4);
  const std::size_t entries = number(directory, 2);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + i * entry_bytes;
    if (number(entry, 2) != 0x0112) continue;
    const std::uint32_t value = number(entry + 8, 2);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

/// What the decoder does not look at, or takes on trust.
struct JpegFile {
  int orientation = 1;
  const char* fault = nullptr;
};

/// Whether a segment's Huffman tables (ITU-T T.81, B.2.4.2) are whole, and none has more codes than the decoder is sure
/// of: stb_image before 2.28 writes beyond 256 and takes the last of 256 for another. Encoders make at most 176.
bool are_huffman_tables(std::string_view segment) {
  constexpr std::size_t lengths = 16, most_codes = 255;
  while (!segment.empty()) {
    const std::string_view counts = segment.substr(1, lengths);
    std::size_t codes = 0;
    for (const char count : counts) codes += static_cast<unsigned char>(count);
    if (counts.size() < lengths || codes > most_codes || codes > segment.size() - 1 - lengths) return false;
    segment.remove_prefix(1 + lengths + codes);
  }
  return true;
}

/// Goes from marker to marker, as the decoder does.
JpegFile look_at_jpeg(std::string_view file) {
  constexpr unsigned char huffman_tables = 0xC4, first_restart = 0xD0, last_restart = 0xD7, end = 0xD9, exif = 0xE1;
  constexpr std::string_view exif_start("Exif\0\0", 6);
  JpegFile jpeg;
  std::size_t at = 2;
  while (true) {
    at = file.find_first_not_of('\xff', file.find('\xff', at));
    if (at == std::string_view::npos) break;
    const auto marker = static_cast<unsigned char>(file[at++]);
    if (marker == 0 || (marker >= first_restart && marker <= last_restart)) continue;  // in a scan's data
    if (marker == end) return jpeg;
    const std::uint32_t length = number_at(file, at, 2, true);
    if (length < 2 || length > file.size() - at) break;
    const std::string_view segment = file.substr(at + 2, length - 2);
    if (marker == huffman_tables && !are_huffman_tables(segment)) {
      jpeg.fault = "its Huffman tables are wrong";
      return jpeg;
    }
    if (marker == exif && segment.starts_with(exif_start)) {
      jpeg.orientation = orientation_in(segment.substr(exif_start.size()));
    }
    at += length;
  }
  jpeg.fault = "it is truncated";  // which the decoder would show as grey
  return jpeg;
}

std::uint8_t over_white(std::uint8_t value, std::uint8_t alpha) {
  return static_cast<std::uint8_t>((value * alpha + 255 * (255 - alpha) + 127) / 255);
}

/// From the decoder's pixels (height, width, channels), turned upright.
Picture upright(const std::uint8_t* pixels, int width, int height, int channels, int orientation) {
  const bool on_its_side = orientation >= 5;
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_below = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Picture picture{.width = on_its_side ? height : width, .height = on_its_side ? width : height, .rgb = {}};
  picture.rgb.resize(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3);
  std::uint8_t* to = picture.rgb.data();
  for (int y = 0; y < picture.height; ++y) {
    for (int x = 0; x < picture.width; ++x) {
      const int column = on_its_side ? y : x, row = on_its_side ? x : y;
      const std::uint8_t* from = pixels + ((from_below ? height - 1 - row : row) * std::ptrdiff_t{width} +
                                           (from_right ? width - 1 - column : column)) *
                                              channels;
      const bool grey = channels < 3, transparent = channels % 2 == 0;
      for (int c = 0; c < 3; ++c) {
        const std::uint8_t value = from[grey ? 0 : c];
        *to++ = transparent ? over_white(value, from[channels - 1]) : value;
      }
    }
  }
  return picture;
}

}  // namespace

Picture parse_picture(std::span<const std::byte> file, std::string_view source, std::int64_t most) {
  const std::string_view text = as_text(file);
  const bool png = text.starts_with(png_start);
  if (!png && !text.starts_with(jpeg_start)) {
    fail(source, "is no PNG or JPEG picture; a file in one of these formats would be right");
  }
  const auto refuse = [&](const char* reason) {
    fail(source, "is a {} file that is damaged, or not read here ({}); a copy saved anew would be right",
         png ? "PNG" : "JPEG", printable(reason));  // it may quote the file
  };
  const JpegFile jpeg = png ? JpegFile{} : look_at_jpeg(text);
  if (jpeg.fault != nullptr) refuse(jpeg.fault);
  const auto* bytes = reinterpret_cast<const stbi_uc*>(file.data());
  const int size = static_cast<int>(file.size());
  int width = 0, height = 0, channels = 0;
  if (stbi_info_from_memory(bytes, size, &width, &height, &channels) == 0)
    refuse("its header is wrong or claims too many pixels");
  if (std::int64_t{width} * height > most) {
    fail(source, "claims {} × {} pixels; at most {} in all are read, so a smaller copy would be right", width, height,
         most);
  }
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(
      stbi_load_from_memory(bytes, size, &width, &height, &channels, 0), stbi_image_free);
  if (!pixels) refuse(stbi_failure_reason());
  return upright(pixels.get(), width, height, channels, jpeg.orientation);
}

Picture read_picture(const std::filesystem::path& path) {
  std::error_code unknown;  // to read it says why
  const std::uintmax_t size = std::filesystem::file_size(path, unknown);
  if (!unknown && size > most_picture_bytes) {
    fail(path.string(), "has {} bytes; of a picture at most {} are read, so a smaller copy would be right", size,
         most_picture_bytes);
  }
  return parse_picture(read_file(path), path.string());
}

Picture centre_square(const Picture& picture, int side) {
  const int edge = std::min(picture.width, picture.height);
  if (edge < 1 || side < 1) {
    throw std::invalid_argument(
        fmt::format("[centre_square] {} × {} pixels to {}", picture.width, picture.height, side));
  }
  const int left = (picture.width - edge) / 2, top = (picture.height - edge) / 2;
  // In parts of a pixel that are whole numbers: one of the picture is `side` wide, one of the square `edge`.
  const auto overlap = [&](int of_picture, int of_square) {
    const std::int64_t from = std::int64_t{of_picture} * side, to = std::int64_t{of_square} * edge;
    return std::min(from + side, to + edge) - std::max(from, to);
  };
  const auto first = [&](int of_square) { return static_cast<int>(std::int64_t{of_square} * edge / side); };
  const auto end = [&](int of_square) {
    return static_cast<int>((std::int64_t{of_square + 1} * edge + side - 1) / side);
  };
  const std::int64_t area = std::int64_t{edge} * edge;
  Picture square{.width = side, .height = side, .rgb = {}};
  square.rgb.reserve(static_cast<std::size_t>(side) * static_cast<std::size_t>(side) * 3);
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < side; ++x) {
      std::array<std::int64_t, 3> sums{};
      for (int row = first(y); row < end(y); ++row) {
        for (int column = first(x); column < end(x); ++column) {
          const std::int64_t weight = overlap(row, y) * overlap(column, x);
          const auto pixel = static_cast<std::size_t>(top + row) * static_cast<std::size_t>(picture.width) +
                             static_cast<std::size_t>(left + column);
          for (std::size_t c = 0; c < 3; ++c) sums[c] += weight * picture.rgb[pixel * 3 + c];
        }
      }
      for (const std::int64_t sum : sums) square.rgb.push_back(static_cast<std::uint8_t>((sum + area / 2) / area));
    }
  }
  return square;
}

void write_png(const std::filesystem::path& path, const Picture& picture) {
  std::string file;
  const auto take = [](void* to, void* bytes, int size) {
    static_cast<std::string*>(to)->append(static_cast<const char*>(bytes), static_cast<std::size_t>(size));
  };
  if (stbi_write_png_to_func(take, &file, picture.width, picture.height, 3, picture.rgb.data(), picture.width * 3) ==
      0) {
    throw std::bad_alloc();
  }
  write_file_atomically(path, file);
}

}  // namespace nepenthe
