#include "data/synthetic.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/in_the_making.h"
#include "engine/base/random.h"

namespace nepenthe {

namespace {

// How hard the task is. Colours are in [0, 255], shares in thousandths, lengths in 1/256 pixel.
constexpr int label_noise = 30;  // share of pictures that show another class than their label
constexpr int hue_spread = 60;   // deviation of a class's hue; classes lie hue_circle / 5 apart
constexpr int smallest_object = 8 * 256, largest_object = 13 * 256;  // radius
constexpr int fewest_distractors = 1, most_distractors = 3;
constexpr int smallest_distractor = 2 * 256, largest_distractor = 4 * 256;
constexpr int cover_chance = 250;                // share of pictures where a distractor lies on the object
constexpr int least_noise = 4, most_noise = 24;  // amplitude of the pixel noise
constexpr int light_spread = 32;                 // deviation of each channel's gain from 256

constexpr int side = 32;
constexpr int pixel = 256;        // one pixel in the units of lengths
constexpr int unit = 1024;        // a shape's radius in its own coordinates
constexpr int hue_circle = 1536;  // six sectors of 256

constexpr std::array<std::string_view, 10> shapes = {"disc", "triangle", "cross",    "star",      "square",
                                                     "ring", "bar",      "crescent", "hourglass", "arrow"};
constexpr std::array<std::string_view, 5> textures = {"plain", "striped", "dotted", "checked", "ringed"};
constexpr std::array<std::string_view, 5> colours = {"red", "yellow", "green", "blue", "violet"};
constexpr int colour_count = static_cast<int>(colours.size());
static_assert(shapes.size() * textures.size() * colours.size() == most_synthetic_classes);

constexpr int shape_of(int coarse) { return coarse % static_cast<int>(shapes.size()); }
// Steps with the shape, so that few coarse classes already have several textures; all 50 combinations are different.
constexpr int texture_of(int coarse) {
  return (coarse + coarse / static_cast<int>(shapes.size())) % static_cast<int>(textures.size());
}

std::string coarse_name(int coarse) {
  return fmt::format("{} {}", textures[static_cast<std::size_t>(texture_of(coarse))],
                     shapes[static_cast<std::size_t>(shape_of(coarse))]);
}

/// The random numbers of one picture, one after another.
class Draws {
 public:
  Draws(std::uint64_t seed, std::uint32_t split, std::uint32_t id)
      : stream_{.seed = seed, .purpose = purpose::synthetic, .shard = split, .stage = 0, .epoch = 0}, id_(id) {}

  std::uint32_t bits() {
    if (used_ == block_.size()) {
      const Random4 drawn = random_bits(stream_, id_);
      block_ = {drawn.x, drawn.y, drawn.z, drawn.w};
      ++stream_.epoch;
      used_ = 0;
    }
    return block_[used_++];
  }
  int below(int bound) { return static_cast<int>(random_below(bits(), static_cast<std::uint32_t>(bound))); }
  int between(int low, int high) { return low + below(high - low + 1); }
  bool chance(int thousandths) { return below(1000) < thousandths; }

 private:
  RandomStream stream_;
  std::uint32_t id_;
  std::array<std::uint32_t, 4> block_ = {};
  std::size_t used_ = 4;
};

using Colour = std::array<int, 3>;

Colour from_hsv(int hue, int saturation, int value) {
  hue = ((hue % hue_circle) + hue_circle) % hue_circle;
  const int part = hue % 256;
  const int low = value * (255 - saturation) / 255;
  const int falling = value * (255 * 255 - saturation * part) / (255 * 255);
  const int rising = value * (255 * 255 - saturation * (255 - part)) / (255 * 255);
  switch (hue / 256) {
    case 0: return {value, rising, low};
    case 1: return {falling, value, low};
    case 2: return {low, value, rising};
    case 3: return {low, falling, value};
    case 4: return {rising, low, value};
    default: return {value, low, falling};
  }
}

/// sin(2π·angle / 4096)·16384 by Bhaskara's rational formula (off by 0.0016 at most): whole numbers on every machine.
int sine(int angle) {
  angle &= 4095;
  const bool negative = angle >= 2048;
  const std::int64_t p = std::int64_t{angle % 2048} * (2048 - angle % 2048);
  const auto value = static_cast<int>(16384 * 16 * p / (5 * 2048 * 2048 - 4 * p));
  return negative ? -value : value;
}

/// Whether (u, v), in units of the radius / 1024, lies in a shape.
bool inside(int shape, int u, int v) {
  const int squared = u * u + v * v;
  constexpr int disc = unit * unit;
  // Signed distances from the centre along the normals of a regular star's five lines.
  constexpr std::array<std::array<int, 2>, 5> star = {{{0, 1024}, {-974, 316}, {-602, -828}, {602, -828}, {974, 316}}};
  switch (shape) {
    case 0: return squared < disc;
    case 1: return v > -520 && 886 * std::abs(u) + 512 * v < 540 * unit;
    case 2: return std::max(std::abs(u), std::abs(v)) < 980 && std::min(std::abs(u), std::abs(v)) < 310;
    case 3: {
      int beyond = 0;  // a point of the star lies beyond at most one line
      for (const auto& normal : star) beyond += (normal[0] * u + normal[1] * v) / unit > 380 ? 1 : 0;
      return beyond <= 1 && squared < disc * 3 / 2;
    }
    case 4: return std::max(std::abs(u), std::abs(v)) < 800;
    case 5: return squared < disc && squared > disc * 28 / 100;
    case 6: return std::abs(u) < 1080 && std::abs(v) < 360;
    case 7: return squared < disc && (u - 480) * (u - 480) + v * v > disc * 60 / 100;
    case 8: return std::abs(v) < 900 && std::abs(u) < std::abs(v) + 90;
    default: return u > 0 ? u < 1000 && std::abs(v) < 1000 - u : u > -1000 && std::abs(v) < 320;
  }
}

/// Which of an object's two colours (u, v) has.
bool second_tone(int texture, int period, int phase, int u, int v) {
  const auto odd = [&](int position) { return (position + phase + 64 * period) / (period / 2) % 2 == 1; };
  switch (texture) {
    case 0: return false;
    case 1: return odd(u);
    case 2: {
      const int x = (u + phase + 64 * period) % period - period / 2;
      const int y = (v + phase + 64 * period) % period - period / 2;
      return x * x + y * y < period * period / 9;
    }
    case 3: return odd(u) != odd(v);
    default: {
      int ring = 0;
      while ((ring + 1) * (ring + 1) * (period / 2) * (period / 2) <= u * u + v * v) ++ring;
      return ring % 2 == 1;
    }
  }
}

struct Object {
  int shape, texture, period, phase;
  int x, y, radius;
  std::array<int, 4> matrix;  // picture to shape coordinates, in 1/65536
  Colour first, second;
};

/// An object of random place, angle, proportion and brightness.
Object draw_object(Draws& draws, int shape, int texture, int hue, int radius, int margin) {
  Object object = {};
  object.shape = shape;
  object.texture = texture;
  object.period = draws.between(500, 820);
  object.phase = draws.below(object.period);
  object.radius = radius;
  object.x = draws.between(margin, side * pixel - margin);
  object.y = draws.between(margin, side * pixel - margin);
  const int angle = draws.below(4096);
  const int wide = radius * draws.between(200, 256) / 256;
  const int high = radius * draws.between(200, 256) / 256;
  // 16384 = sine's one, 65536 = the matrix's one: 65536 · unit / 16384 = 4096.
  object.matrix = {sine(angle + 1024) * 4096 / wide, sine(angle) * 4096 / wide, -sine(angle) * 4096 / high,
                   sine(angle + 1024) * 4096 / high};
  const int saturation = draws.between(110, 255);
  const int value = draws.between(120, 255);
  object.first = from_hsv(hue, saturation, value);
  // The other tone: darker, paler, or another hue nearby.
  switch (draws.below(3)) {
    case 0: object.second = from_hsv(hue, saturation, value * 2 / 5); break;
    case 1: object.second = from_hsv(hue, saturation / 4, std::min(255, value + 60)); break;
    default: object.second = from_hsv(hue + draws.between(-200, 200), saturation, value * 3 / 5); break;
  }
  return object;
}

Object draw_distractor(Draws& draws) {
  const int shape = draws.below(static_cast<int>(shapes.size()));
  const int texture = draws.below(static_cast<int>(textures.size()));
  const int hue = draws.below(hue_circle);
  return draw_object(draws, shape, texture, hue, draws.between(smallest_distractor, largest_distractor), 0);
}

/// Two colours and the direction from the one to the other.
struct Background {
  Colour from, to;
  int dx, dy;

  explicit Background(Draws& draws) {
    const int hue = draws.below(hue_circle);
    from = from_hsv(hue, draws.between(0, 200), draws.between(20, 255));
    to = from_hsv(hue + draws.between(-400, 400), draws.between(0, 200), draws.between(20, 255));
    const int angle = draws.below(4096);
    dx = sine(angle + 1024);
    dy = sine(angle);
  }
  Colour at(int x, int y) const {
    constexpr int half = side * pixel / 2;
    const int along = ((x - half) * (dx / 64) + (y - half) * (dy / 64)) / 256;  // in [-1.42, 1.42] half sides · 4096
    const int share = std::clamp(along + 4096, 0, 8192);
    Colour colour = {};
    for (std::size_t c = 0; c < 3; ++c) colour[c] = from[c] + (to[c] - from[c]) * share / 8192;
    return colour;
  }
};

Colour colour_at(const Background& background, const std::vector<Object>& objects, int x, int y) {
  for (auto object = objects.rbegin(); object != objects.rend(); ++object) {  // the last lies on top
    const int dx = x - object->x;
    const int dy = y - object->y;
    if (std::max(std::abs(dx), std::abs(dy)) > object->radius * 3 / 2) continue;
    const int u = (dx * object->matrix[0] + dy * object->matrix[1]) / 65536;
    const int v = (dx * object->matrix[2] + dy * object->matrix[3]) / 65536;
    if (!inside(object->shape, u, v)) continue;
    return second_tone(object->texture, object->period, object->phase, u, v) ? object->second : object->first;
  }
  return background.at(x, y);
}

/// Draws class `fine` into the 3072 bytes at `picture`.
void draw_picture(Draws& draws, int fine, std::byte* picture) {
  const int coarse = fine / colour_count;
  const Background background(draws);
  std::vector<Object> objects;
  for (int i = draws.between(fewest_distractors, most_distractors); i > 0; --i)
    objects.push_back(draw_distractor(draws));
  // The sum of two draws: the middle of the range is the most frequent, the edges reach over the neighbours' middle.
  const int hue = hue_circle * (fine % colour_count) / colour_count + 2 * draws.between(-hue_spread, hue_spread) +
                  draws.between(-hue_spread, hue_spread);
  const int radius = draws.between(smallest_object, largest_object);
  objects.push_back(draw_object(draws, shape_of(coarse), texture_of(coarse), hue, radius, radius * 3 / 4));
  if (draws.chance(cover_chance)) objects.push_back(draw_distractor(draws));

  const int noise = draws.between(least_noise, most_noise);
  Colour gain = {};
  for (int& channel : gain) channel = 256 + draws.between(-light_spread, light_spread);
  for (int row = 0; row < side; ++row) {
    for (int column = 0; column < side; ++column) {
      Colour sum = {};
      for (const int dy : {pixel / 4, pixel * 3 / 4}) {
        for (const int dx : {pixel / 4, pixel * 3 / 4}) {
          const Colour colour = colour_at(background, objects, column * pixel + dx, row * pixel + dy);
          for (std::size_t c = 0; c < 3; ++c) sum[c] += colour[c];
        }
      }
      for (std::size_t c = 0; c < 3; ++c) {
        const std::uint32_t bits = draws.bits();
        const int wobble = static_cast<int>(bits & 0xFFFFu) + static_cast<int>(bits >> 16) - 65535;  // a triangle
        const int value = sum[c] / 4 * gain[c] / 256 + wobble * noise / 65536;
        picture[c * side * side + static_cast<std::size_t>(row * side + column)] =
            static_cast<std::byte>(std::clamp(value, 0, 255));
      }
    }
  }
}

std::vector<std::byte> draw_split(std::uint64_t seed, std::uint32_t split, int count, int classes) {
  constexpr std::size_t record = 2 + 3 * side * side;
  std::vector<std::byte> file(static_cast<std::size_t>(count) * record);
  for (int id = 0; id < count; ++id) {
    std::byte* const begin = file.data() + static_cast<std::size_t>(id) * record;
    const int label = id % classes;
    begin[0] = static_cast<std::byte>(label / colour_count);
    begin[1] = static_cast<std::byte>(label);
    Draws draws(seed, split, static_cast<std::uint32_t>(id));
    const int shown = draws.chance(label_noise) ? (label + draws.between(1, classes - 1)) % classes : label;
    draw_picture(draws, shown, begin + 2);
  }
  return file;
}

}  // namespace

void write_synthetic(const std::filesystem::path& folder, int train, int test, int classes, std::uint64_t seed) {
  if (train < 1 || test < 1) {
    throw UsageError(
        fmt::format("[synthetic] {} training and {} test pictures; at least 1 of each is expected", train, test));
  }
  if (classes < 2 || classes > most_synthetic_classes) {
    throw UsageError(fmt::format("[synthetic] {} classes; 2 to {} are expected", classes, most_synthetic_classes));
  }
  for (const std::string_view name : synthetic_file_names) {
    std::error_code unknown;
    if (std::filesystem::exists(std::filesystem::symlink_status(folder / name, unknown))) {
      throw UsageError(
          fmt::format("{}: exists already and is not overwritten; name an empty folder", (folder / name).string()));
    }
  }

  std::string fine_names, coarse_names;
  for (int fine = 0; fine < classes; ++fine) {
    const std::string coarse = coarse_name(fine / colour_count);
    fine_names += fmt::format("{} {}\n", colours[static_cast<std::size_t>(fine % colour_count)], coarse);
    if (fine % colour_count == 0) coarse_names += coarse + "\n";
  }
  // Part of a data set would be mistaken for one.
  FolderInTheMaking making(folder);
  write_file_atomically(making.path() / "fine_label_names.txt", fine_names);
  write_file_atomically(making.path() / "coarse_label_names.txt", coarse_names);
  write_file_atomically(making.path() / "test.bin", draw_split(seed, 1, test, classes));
  write_file_atomically(making.path() / "train.bin", draw_split(seed, 0, train, classes));
  making.keep();
}

}  // namespace nepenthe
