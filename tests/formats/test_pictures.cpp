// Pictures: every kind of PNG and JPEG that is read, the squares made of them, and every way a file can be wrong.
#include "engine/formats/pictures.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <zlib.h>

#include <array>
#include <random>
#include <string>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "shared_data.h"
#include "zip.h"

using namespace nepenthe;
using namespace nepenthe::tests;

namespace {

std::string big_endian(std::uint32_t number, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(number >> (8 * i) & 0xFF);
  return text;
}

std::string chunk(const std::string& name_and_data) {
  const auto crc =
      ::crc32(0, reinterpret_cast<const Bytef*>(name_and_data.data()), static_cast<uInt>(name_and_data.size()));
  return cat(big_endian(static_cast<std::uint32_t>(name_and_data.size() - 4), 4), name_and_data,
             big_endian(static_cast<std::uint32_t>(crc), 4));
}

std::string header(std::uint32_t width, std::uint32_t height, std::uint32_t depth, std::uint32_t colour) {
  return cat("\x89PNG\r\n\x1a\n", chunk(cat("IHDR", big_endian(width, 4), big_endian(height, 4), big_endian(depth, 1),
                                            big_endian(colour, 1), std::string(3, '\0'))));
}

/// The rows, so many times.
std::string data(const std::string& rows, int times = 1) {
  z_stream stream = {};
  REQUIRE(::deflateInit(&stream, Z_BEST_COMPRESSION) == Z_OK);
  std::string packed(::deflateBound(&stream, rows.size() * static_cast<uLong>(times)) / (times > 1 ? 100 : 1), '\0');
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  for (int i = 1; i <= times; ++i) {
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(rows.data()));
    stream.avail_in = static_cast<uInt>(rows.size());
    REQUIRE(::deflate(&stream, i < times ? Z_NO_FLUSH : Z_FINISH) == (i < times ? Z_OK : Z_STREAM_END));
  }
  packed.resize(stream.total_out);
  ::deflateEnd(&stream);
  return chunk(cat("IDAT", packed));
}

/// A PNG of rows, each of which begins with the number of its filter; `more` are chunks before the data.
std::string png(std::uint32_t width, std::uint32_t height, std::uint32_t depth, std::uint32_t colour,
                const std::string& rows, const std::string& more = "") {
  return cat(header(width, height, depth, colour), more, data(rows), chunk("IEND"));
}

enum Colour : std::uint8_t { grey = 0, rgb = 2, palette = 3, grey_alpha = 4, rgba = 6 };

Picture parse(const std::string& file) { return parse_picture(std::as_bytes(std::span(file)), "f"); }

using Bytes = std::vector<std::uint8_t>;

/// Pixels (x, y, 7) …, which differ.
Picture numbered(int width, int height) {
  Picture picture{.width = width, .height = height, .rgb = {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (const int value : {x, y, 7}) picture.rgb.push_back(static_cast<std::uint8_t>(value));
    }
  }
  return picture;
}

/// The bytes of a file of tests/golden/pictures: 24 × 16 pixels (10 x, 15 y, 128), as cjpeg of libjpeg-turbo 2.1.5
/// wrote them: -quality 95 with -sample 1x1 -progressive, with -sample 2x2 -restart 1B, and with -grayscale.
std::optional<std::string> golden_picture(std::string_view name) {
  const auto path = golden_file(fmt::format("pictures/{}", name));
  return path ? std::optional(std::string(as_text(read_file(*path)))) : std::nullopt;
}

/// A JPEG with Exif data in front whose tag Orientation has this value.
std::string with_orientation(const std::string& jpeg, std::uint32_t value, bool big) {
  const auto number = [&](std::uint32_t n, int bytes) {
    std::string text = big_endian(n, bytes);
    return big ? text : std::string(text.rbegin(), text.rend());
  };
  const std::string exif =
      cat(std::string("Exif\0\0", 6), big ? "MM" : "II", number(42, 2), number(8, 4), number(2, 2),  // two tags
          number(0x010F, 2), number(2, 2), number(1, 4), number(0, 4),                               // the maker
          number(0x0112, 2), number(3, 2), number(1, 4), number(value, 2), number(0, 2), number(0, 4));
  return cat(jpeg.substr(0, 2), "\xff\xe1", big_endian(static_cast<std::uint32_t>(exif.size() + 2), 2), exif,
             jpeg.substr(2));
}

/// Whether each byte is within `tolerance` of the other picture's.
bool close(const Picture& a, const Picture& b, int tolerance) {
  if (a.width != b.width || a.height != b.height || a.rgb.size() != b.rgb.size()) return false;
  for (std::size_t i = 0; i < a.rgb.size(); ++i) {
    if (std::abs(int{a.rgb[i]} - int{b.rgb[i]}) > tolerance) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("pictures: a PNG that is written is read again, byte for byte") {
  const TemporaryFolder folder;
  for (const auto& [width, height] : {std::pair(32, 32), std::pair(1, 1), std::pair(200, 3)}) {
    const Picture picture = numbered(width, height);
    write_png(folder / "a.png", picture);
    const Picture read = read_picture(folder / "a.png");
    CHECK(read.width == width);
    CHECK(read.height == height);
    CHECK(read.rgb == picture.rgb);
  }
}

TEST_CASE("pictures: grey, palette, transparent and 16-bit PNG") {
  CHECK(parse(png(2, 1, 8, grey, {"\0\x05\xfa", 3})).rgb == Bytes{5, 5, 5, 250, 250, 250});
  CHECK(parse(png(2, 1, 1, grey, {"\0\x40", 2})).rgb == Bytes{0, 0, 0, 255, 255, 255});
  CHECK(parse(png(1, 1, 8, rgb, {"\0\1\2\3", 4})).rgb == Bytes{1, 2, 3});
  CHECK(parse(png(2, 1, 8, palette, {"\0\1\0", 3}, chunk({"PLTE\1\2\3\4\5\6", 10}))).rgb == Bytes{4, 5, 6, 1, 2, 3});
  CHECK(parse(png(1, 1, 16, rgb, {"\0\x12\xff\x80\0\xff\x7f", 7})).rgb == Bytes{0x12, 0x80, 0xff});
  // Over white: all of a colour, half of it, none.
  CHECK(parse(png(3, 1, 8, rgba, {"\0\x64\0\xff\xff\x64\0\xff\x80\x64\0\xff\0", 13})).rgb ==
        Bytes{100, 0, 255, 177, 127, 255, 255, 255, 255});
  CHECK(parse(png(2, 1, 8, grey_alpha, {"\0\x64\xff\x64\0", 5})).rgb == Bytes{100, 100, 100, 255, 255, 255});
  // A colour that stands for transparency.
  CHECK(parse(png(2, 1, 8, rgb, {"\0\1\2\3\4\5\6", 7}, chunk({"tRNS\0\1\0\2\0\3", 10}))).rgb ==
        Bytes{255, 255, 255, 4, 5, 6});
}

TEST_CASE("pictures: JPEG, progressive, of fewer colours, grey") {
  Picture expected{.width = 24, .height = 16, .rgb = {}};
  for (int y = 0; y < 16; ++y) {
    for (int x = 0; x < 24; ++x) {
      for (const int value : {10 * x, 15 * y, 128}) expected.rgb.push_back(static_cast<std::uint8_t>(value));
    }
  }
  for (const auto& [name, tolerance] : {std::pair("progressive.jpg", 6), std::pair("subsampled.jpg", 20)}) {
    CAPTURE(name);
    if (const auto file = golden_picture(name)) CHECK(close(parse(*file), expected, tolerance));
  }
  for (std::size_t i = 0; i < expected.rgb.size(); i += 3) {  // luminance (ITU-R BT.601)
    const double value = 0.299 * expected.rgb[i] + 0.587 * expected.rgb[i + 1] + 0.114 * expected.rgb[i + 2];
    for (std::size_t c = 0; c < 3; ++c) expected.rgb[i + c] = static_cast<std::uint8_t>(value);
  }
  if (const auto file = golden_picture("grey.jpg")) CHECK(close(parse(*file), expected, 4));
}

TEST_CASE("pictures: a JPEG is turned as its camera noted") {
  const auto jpeg = golden_picture("progressive.jpg");
  if (!jpeg) return;
  const Picture stored = parse(*jpeg);
  const auto pixel = [](const Picture& picture, int x, int y) {
    return picture.rgb[static_cast<std::size_t>(y * picture.width + x) * 3] * 1000 +
           picture.rgb[static_cast<std::size_t>(y * picture.width + x) * 3 + 1];
  };
  // Where the stored corners top left and top right are to be seen (Exif 2.3, 4.6.4), as parts of width and height.
  struct Seen {
    int left_x, left_y, right_x, right_y;
  };
  const std::array<Seen, 8> seen = {
      {{0, 0, 1, 0}, {1, 0, 0, 0}, {1, 1, 0, 1}, {0, 1, 1, 1}, {0, 0, 0, 1}, {1, 0, 1, 1}, {1, 1, 1, 0}, {0, 1, 0, 0}}};
  for (std::uint32_t orientation = 0; orientation <= 9; ++orientation) {
    for (const bool big : {true, false}) {
      CAPTURE(orientation);
      const Picture shown = parse(with_orientation(*jpeg, orientation, big));
      const bool valid = orientation >= 1 && orientation <= 8;
      const Seen& corners = seen[valid ? orientation - 1 : 0];
      CHECK(shown.width == (valid && orientation >= 5 ? 16 : 24));
      CHECK(shown.height == (valid && orientation >= 5 ? 24 : 16));
      const int right = shown.width - 1, bottom = shown.height - 1;
      CHECK(pixel(shown, corners.left_x * right, corners.left_y * bottom) == pixel(stored, 0, 0));
      CHECK(pixel(shown, corners.right_x * right, corners.right_y * bottom) == pixel(stored, 23, 0));
    }
  }
}

TEST_CASE("pictures: the square in the middle") {
  const Picture same = numbered(32, 32);
  CHECK(centre_square(same, 32).rgb == same.rgb);
  // Of 8 × 2 the columns 3 and 4; of 2 × 7 the rows 2 and 3.
  CHECK(centre_square(numbered(8, 2), 2).rgb == Bytes{3, 0, 7, 4, 0, 7, 3, 1, 7, 4, 1, 7});
  CHECK(centre_square(numbered(2, 7), 2).rgb == Bytes{0, 2, 7, 1, 2, 7, 0, 3, 7, 1, 3, 7});
  // The mean of 4 × 4, (1.5, 1.5), is rounded to nearest.
  CHECK(centre_square(numbered(4, 4), 1).rgb == Bytes{2, 2, 7});
  // Three pixels to two: the middle one is shared.
  CHECK(centre_square({3, 3, Bytes(27, 90)}, 2).rgb == Bytes(12, 90));
  Picture row = numbered(3, 3);
  for (std::uint8_t& value : row.rgb) value *= 30;
  CHECK(centre_square(row, 2).rgb == Bytes{10, 10, 210, 50, 10, 210, 10, 50, 210, 50, 50, 210});
  // Larger: each pixel a square of its own; a single one fills all.
  const Picture large = centre_square(numbered(2, 2), 4);
  CHECK(Bytes(large.rgb.begin(), large.rgb.begin() + 12) == Bytes{0, 0, 7, 0, 0, 7, 1, 0, 7, 1, 0, 7});
  CHECK(centre_square({1, 1, {1, 2, 3}}, 32).rgb.size() == 32 * 32 * 3);
  CHECK_THROWS_AS(centre_square({}, 32), std::invalid_argument);
}

TEST_CASE("pictures: what is no picture is refused with what would be right") {
  const auto refused = [](const std::string& file, std::string_view expected) {
    NEPENTHE_CHECK_MESSAGE(Error, parse(file), expected);
  };
  const std::string good = png(2, 1, 8, grey, {"\0\1\2", 3});
  for (const std::string& other : {std::string(), std::string("GIF89a"), std::string("\x89PNG"),
                                   std::string("\xff\xd8"), std::string("BM"), std::string("P6\n1 1\n255\n\1\2\3")}) {
    refused(other, "f: is no PNG or JPEG picture; a file in one of these formats would be right");
  }
  refused(good.substr(0, 20), "f: is a PNG file that is damaged");
  refused(good.substr(0, 40), "f: is a PNG file that is damaged");
  refused(cat(header(2, 1, 8, grey), chunk("IEND")), "f: is a PNG file that is damaged");
  refused(png(0, 1, 8, grey, "\0"), "damaged");
  refused(png(2, 2, 8, grey, {"\0\1\2", 3}), "damaged");     // a row is missing
  refused(png(2, 1, 8, grey, {"\7\1\2", 3}), "damaged");     // there is no such filter
  refused(png(2, 1, 3, grey, {"\0\1\2", 3}), "damaged");     // there is no such depth
  refused(png(2, 1, 8, palette, {"\0\1\2", 3}), "damaged");  // there is no palette
  refused(cat(header(2, 1, 8, grey), chunk("AB\n\x1b")), "damaged, or not read here (AB\\x0a\\x1b");
  refused("\xff\xd8\xff", "f: is a JPEG file that is damaged");
  refused(
      "\xff\xd8\xff\xe1\xff\xff"
      "Exif",
      "f: is a JPEG file that is damaged");
  if (const auto jpeg = golden_picture("progressive.jpg")) {
    for (const std::size_t size : {jpeg->size() - 2, jpeg->size() / 2}) refused(jpeg->substr(0, size), "truncated");
    refused(with_orientation(*jpeg, 6, true).substr(0, jpeg->size() - 2), "truncated");
    // A Huffman table of 256 codes, and one that ends before its codes.
    std::string tables = *jpeg;
    const std::size_t table = tables.find("\xff\xc4");
    REQUIRE(table != std::string::npos);
    tables.insert(table,
                  cat("\xff\xc4", big_endian(19 + 256, 2), std::string(15, '\0'), "\x01\xff", std::string(256, '\1')));
    refused(tables, "its Huffman tables are wrong");
    tables = *jpeg;
    tables[table + 5] = '\xff';
    refused(tables, "its Huffman tables are wrong");
  }
}

TEST_CASE("pictures: sizes are bounded before anything is decoded") {
  const auto refused = [](const std::string& file, std::string_view expected) {
    NEPENTHE_CHECK_MESSAGE(Error, parse(file), expected);
  };
  refused(cat(header(8192, 8193, 8, rgb), chunk("IEND")), "claims 8192 × 8193 pixels; at most 67108864 in all");
  refused(cat(header(100000, 100000, 8, rgb), chunk("IEND")), "claims too many pixels");
  refused(cat(header(0x7fffffff, 0x7fffffff, 16, rgba), chunk("IEND")), "claims too many pixels");
  if (auto jpeg = golden_picture("subsampled.jpg")) {
    const std::size_t frame = jpeg->find("\xff\xc0");
    REQUIRE(frame != std::string::npos);
    jpeg->replace(frame + 5, 4, "\xff\xff\xff\xff");
    refused(*jpeg, "claims 65535 × 65535 pixels");
  }
  const std::string good = png(2, 2, 8, grey, {"\0\1\2\0\3\4", 6});
  CHECK(parse_picture(std::as_bytes(std::span(good)), "f", 4).rgb.size() == 12);
  NEPENTHE_CHECK_MESSAGE(Error, parse_picture(std::as_bytes(std::span(good)), "f", 3),
                         "claims 2 × 2 pixels; at most 3");

  const TemporaryFolder folder;
  write_file_atomically(folder / "large.png", good);
  std::filesystem::resize_file(folder / "large.png", most_picture_bytes + 1);
  NEPENTHE_CHECK_MESSAGE(Error, read_picture(folder / "large.png"), "has 268435457 bytes");
  NEPENTHE_CHECK_MESSAGE(Error, read_picture(folder / "none.png"), "none.png");
}

TEST_CASE("pictures: data that grows beyond every picture is refused") {
  // 700 KB that unpack to 700 MB, behind a header of one pixel.
  const std::string bomb = cat(header(1, 1, 8, grey), data(std::string(1'000'000, '\0'), 700), chunk("IEND"));
  NEPENTHE_CHECK_MESSAGE(Error, parse(bomb), "f: is a PNG file that is damaged");
}

TEST_CASE("pictures: random damage is read or refused, never worse") {
  std::vector<std::string> files = {png(5, 4, 8, rgba, std::string(4 * 21, '\1')),
                                    png(9, 3, 2, palette, std::string(3 * 4, '\0'), chunk({"PLTE\1\2\3\4\5\6", 10}))};
  for (const char* name : {"progressive.jpg", "subsampled.jpg", "grey.jpg"}) {
    if (const auto file = golden_picture(name)) files.push_back(with_orientation(*file, 6, true));
  }
  std::mt19937 random(1);
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = files[static_cast<std::size_t>(round) % files.size()];
    damaged[random() % damaged.size()] = static_cast<char>(random());
    if (round % 4 == 0) damaged.resize(random() % damaged.size());
    try {
      (void)parse_picture(std::as_bytes(std::span(damaged)), "fuzz", 1 << 16);
    } catch (const Error&) {
    }
  }
}
