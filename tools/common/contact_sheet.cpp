#include "tools/common/contact_sheet.h"

#include <fmt/format.h>
#include <stb/stb_easy_font.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/base/error.h"

namespace nepenthe {
namespace {

using Colour = std::array<std::uint8_t, 3>;
constexpr Colour paper{255, 255, 255}, card{243, 245, 248}, ink{33, 37, 41}, faint_ink{108, 117, 125};
constexpr Colour track{222, 226, 232}, first_bar{37, 99, 195}, other_bar{140, 176, 226};

// In pixels.
constexpr int gap = 16, padding = 16, title_height = 48;
constexpr int text_scale = 2, title_scale = 3, letter_height = 9 * text_scale;  // the small ones hang below by two more
constexpr int heading_height = letter_height + 14;
constexpr int guess_height = 41, bar_top = letter_height + 4, bar_height = 6, guesses_width = 330;
constexpr int card_width = padding + sheet_picture_side + gap + guesses_width + padding;

/// What the font has: a '?' for each code point that is not printable ASCII.
std::string in_ascii(const std::string& text) {
  std::string shown;
  for (const char c : text) {
    if ((c & 0xC0) == 0x80) continue;  // a later byte of a code point
    shown += c >= ' ' && c <= '~' ? c : '?';
  }
  return shown;
}

int width_of(std::string text, int scale) { return stb_easy_font_width(text.data()) * scale; }

/// As much of a text as fits.
std::string fitting(const std::string& text, int scale, int width) {
  std::string shown = in_ascii(text);
  if (width_of(shown, scale) <= width) return shown;
  while (!shown.empty() && width_of(shown + "...", scale) > width) shown.pop_back();
  return shown + "...";
}

class Canvas {
 public:
  Canvas(int width, int height) : picture_{.width = width, .height = height, .rgb = {}} {
    picture_.rgb.resize(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3);
    fill(0, 0, width, height, paper);
  }

  void fill(int left, int top, int width, int height, const Colour& colour) {
    for (int y = top; y < top + height; ++y) {
      for (int x = left; x < left + width; ++x) std::ranges::copy(colour, at(x, y));
    }
  }

  void paste(int left, int top, const Picture& other) {
    const auto row_bytes = static_cast<std::size_t>(other.width) * 3;
    for (int y = 0; y < other.height; ++y) {
      std::copy_n(other.rgb.data() + static_cast<std::size_t>(y) * row_bytes, row_bytes, at(left, top + y));
    }
  }

  /// `text` in ASCII; `top` is that of a capital letter.
  void write(int left, int top, int scale, const Colour& colour, std::string text) {
    struct Vertex {
      float x, y, z;
      std::array<std::uint8_t, 4> colour;
    };
    using Quad = std::array<Vertex, 4>;     // from top left, clockwise
    constexpr std::size_t most_quads = 32;  // of a character
    std::vector<Quad> quads(text.size() * most_quads);
    const int count =
        stb_easy_font_print(0, 0, text.data(), nullptr, quads.data(), static_cast<int>(quads.size() * sizeof(Quad)));
    quads.resize(static_cast<std::size_t>(count));
    for (const Quad& quad : quads) {
      const auto from_x = static_cast<int>(quad[0].x), from_y = static_cast<int>(quad[0].y);
      const auto to_x = static_cast<int>(quad[2].x), to_y = static_cast<int>(quad[2].y);
      fill(left + from_x * scale, top + from_y * scale, (to_x - from_x) * scale, (to_y - from_y) * scale, colour);
    }
  }

  Picture take() { return std::move(picture_); }

 private:
  std::uint8_t* at(int x, int y) {
    return picture_.rgb.data() +
           (static_cast<std::size_t>(y) * static_cast<std::size_t>(picture_.width) + static_cast<std::size_t>(x)) * 3;
  }
  Picture picture_;
};

void draw_guess(Canvas& canvas, int left, int top, const SheetEntry::Guess& guess, bool is_first) {
  const std::string share = fmt::format("{:.1f}%", 100 * guess.probability);
  const int share_width = width_of(share, text_scale);
  const Colour& colour = is_first ? ink : faint_ink;
  canvas.write(left, top, text_scale, colour, fitting(guess.name, text_scale, guesses_width - share_width - gap));
  canvas.write(left + guesses_width - share_width, top, text_scale, colour, share);
  canvas.fill(left, top + bar_top, guesses_width, bar_height, track);
  const int bar_width = static_cast<int>(std::lround(guess.probability * guesses_width));
  canvas.fill(left, top + bar_top, bar_width, bar_height, is_first ? first_bar : other_bar);
}

}  // namespace

Picture contact_sheet(const std::string& title, const std::vector<SheetEntry>& entries) {
  const auto count = static_cast<int>(entries.size());
  const int guesses_height =
      (static_cast<int>(entries.front().guesses.size()) - 1) * guess_height + bar_top + bar_height;
  const int card_height = padding + heading_height + std::max(sheet_picture_side, guesses_height) + padding;
  constexpr double wanted_shape = 1.6;  // wide by high, as screens are
  const double wanted = std::sqrt(wanted_shape * static_cast<double>(count) * card_height / card_width);
  const int columns = std::clamp(static_cast<int>(std::lround(wanted)), 1, count);
  const int rows = (count + columns - 1) / columns;
  const std::int64_t width = gap + std::int64_t{columns} * (card_width + gap);
  const std::int64_t height = gap + title_height + std::int64_t{rows} * (card_height + gap);
  if (width * height > most_pixels) {
    throw UsageError(
        fmt::format("--out: the sheet would have {} × {} pixels, and at most {} in all are drawn; fewer "
                    "pictures, or a smaller --top, would be right",
                    width, height, most_pixels));
  }
  Canvas canvas(static_cast<int>(width), static_cast<int>(height));
  const int title_width = static_cast<int>(width) - 2 * gap;
  const int scale = width_of(in_ascii(title), title_scale) <= title_width ? title_scale : text_scale;
  canvas.write(gap, gap, scale, ink, fitting(title, scale, title_width));
  for (int i = 0; i < count; ++i) {
    const SheetEntry& entry = entries[static_cast<std::size_t>(i)];
    const int left = gap + i % columns * (card_width + gap);
    const int top = gap + title_height + i / columns * (card_height + gap);
    canvas.fill(left, top, card_width, card_height, card);
    canvas.write(left + padding, top + padding, text_scale, ink,
                 fitting(entry.title, text_scale, card_width - 2 * padding));
    const int below = top + padding + heading_height;
    canvas.paste(left + padding, below, entry.picture);
    for (std::size_t k = 0; k < entry.guesses.size(); ++k) {
      draw_guess(canvas, left + padding + sheet_picture_side + gap, below + static_cast<int>(k) * guess_height,
                 entry.guesses[k], k == 0);
    }
  }
  return canvas.take();
}

}  // namespace nepenthe
