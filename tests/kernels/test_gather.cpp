#include "kernels/gather.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <stdexcept>

#include "harness.h"

namespace nepenthe::tests {
namespace {

using kernels::Augmentation;
using kernels::Normalization;

const Normalization normalization{.mean = {0.5f, 0.4f, 0.3f}, .std = {0.2f, 0.3f, 0.25f}};

struct Pictures {
  int samples, h, w;
  std::vector<std::uint8_t> bytes;
  std::vector<std::int32_t> labels;

  Pictures(int samples_, int h_, int w_) : samples(samples_), h(h_), w(w_), labels(random_labels(samples_, 100, 1)) {
    for (const auto byte : random_labels(samples * 3 * h * w, 256, 2)) bytes.push_back(static_cast<std::uint8_t>(byte));
  }
};

/// What one output element should be, step by step: pad, crop, flip, scale, normalise.
float expected(const Pictures& p, int id, const std::optional<Augmentation>& augmentation, int c, int r, int s) {
  int row = r, column = s;
  if (augmentation) {
    const auto bits = kernels::random_bits(augmentation->stream, static_cast<std::uint32_t>(id));
    const auto choices = static_cast<std::uint32_t>(2 * augmentation->padding + 1);
    const int top = static_cast<int>(kernels::random_below(bits.x, choices));
    const int left = static_cast<int>(kernels::random_below(bits.y, choices));
    if (bits.z & 0x80000000u) column = p.w - 1 - s;
    row += top - augmentation->padding;
    column += left - augmentation->padding;
  }
  const bool inside = row >= 0 && row < p.h && column >= 0 && column < p.w;
  const int raw = inside ? p.bytes[((std::size_t(id) * 3 + c) * p.h + row) * p.w + column] : 0;
  return (static_cast<float>(raw) / 255.0f - normalization.mean[c]) / normalization.std[c];
}

/// Images as plain (N, H, W, C), then labels as floats.
Outputs gathered(const Pictures& p, const std::vector<std::int32_t>& ids,
                 const std::optional<Augmentation>& augmentation) {
  const ImageShape shape{static_cast<int>(ids.size()), p.h, p.w, 3};
  return deterministic([&](CpuExec& exec) {
    auto images = poisoned(shape.size());
    std::vector<std::int32_t> labels(ids.size(), -1);
    gather(exec, shape, images.data(), labels.data(), p.bytes.data(), p.labels.data(), ids.data(), normalization,
           augmentation);
    return Outputs{from_backend(exec, shape, images), {labels.begin(), labels.end()}};
  });
}

void check(const Pictures& p, const std::vector<std::int32_t>& ids, const std::optional<Augmentation>& augmentation) {
  const Outputs out = gathered(p, ids, augmentation);
  std::size_t wrong = 0, i = 0;
  for (std::size_t n = 0; n < ids.size(); ++n) {
    for (int r = 0; r < p.h; ++r) {
      for (int s = 0; s < p.w; ++s) {
        for (int c = 0; c < 3; ++c) wrong += out[0][i++] != expected(p, ids[n], augmentation, c, r, s);
      }
    }
    CHECK(out[1][n] == static_cast<float>(p.labels[ids[n]]));
  }
  CHECK(wrong == 0);
}

TEST_CASE("gather: against a plain rewriting of the contract") {
  MESSAGE(exec_with(1).description());
  const Pictures pictures(150, 9, 7);
  std::vector<std::int32_t> ids(133);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i * 37 % 150);
  check(pictures, ids, std::nullopt);
  for (const int padding : {0, 1, 4, 12}) {
    check(pictures, ids, Augmentation{.stream = {.seed = 3, .purpose = 2, .shard = 1, .epoch = 8}, .padding = padding});
  }
  check(Pictures(3, 32, 32), {2}, Augmentation{.stream = {.seed = 5}});
}

TEST_CASE("gather: a sample's picture depends neither on its place nor on its company") {
  const Pictures pictures(40, 8, 8);
  std::vector<std::int32_t> ids(40);
  std::iota(ids.begin(), ids.end(), 0);
  const Augmentation augmentation{.stream = {.seed = 11, .epoch = 2}};
  const Outputs all = gathered(pictures, ids, augmentation);
  const Outputs some = gathered(pictures, {39, 3, 3, 17}, augmentation);
  const std::size_t size = 8 * 8 * 3;
  for (const auto& [place, id] : {std::pair{0, 39}, {1, 3}, {2, 3}, {3, 17}}) {
    CHECK(std::equal(some[0].begin() + place * size, some[0].begin() + (place + 1) * size, all[0].begin() + id * size));
  }
}

TEST_CASE("gather: all 81 crops occur about equally often, and half of the pictures are flipped") {
  // One bright pixel in the middle of a 9 × 9 picture tells where the crop was taken; a second one beside it, darker,
  // tells whether it was flipped.
  constexpr int samples = 8100;
  Pictures pictures(1, 10, 10);
  pictures.samples = samples;
  pictures.labels.assign(samples, 0);
  pictures.bytes.assign(std::size_t{samples} * 300, 0);
  for (std::size_t sample = 0; sample < samples; ++sample) {
    pictures.bytes[sample * 300 + 4 * 10 + 4] = 255;
    pictures.bytes[sample * 300 + 4 * 10 + 5] = 128;
  }
  std::vector<std::int32_t> ids(samples);
  std::iota(ids.begin(), ids.end(), 0);
  const Outputs out = gathered(pictures, ids, Augmentation{.stream = {.seed = 12}});
  const float bright = (1 - 0.5f) / 0.2f;
  std::vector<int> seen(81);
  int flipped = 0;
  for (int n = 0; n < samples; ++n) {
    const float* image = out[0].data() + std::size_t(n) * 300;
    int row = -1, column = -1;
    for (int i = 0; i < 100; ++i) {
      if (image[i * 3] == bright) {
        row = i / 10;
        column = i % 10;
      }
    }
    REQUIRE(row >= 0);
    const bool flip = column > 0 && image[(row * 10 + column - 1) * 3] > -2;
    flipped += flip;
    const int top = 4 - row + 4, left = 4 - (flip ? 9 - column : column) + 4;
    REQUIRE(top >= 0);
    REQUIRE(top < 9);
    REQUIRE(left >= 0);
    REQUIRE(left < 9);
    ++seen[static_cast<std::size_t>(top * 9 + left)];
  }
  CHECK(*std::min_element(seen.begin(), seen.end()) > 50);  // 100 expected, ± 10 one standard deviation
  CHECK(*std::max_element(seen.begin(), seen.end()) < 150);
  CHECK(std::abs(flipped - samples / 2) < 4 * 45);
}

TEST_CASE("gather: other than three channels is refused") {
  CHECK_THROWS_AS(
      gather(exec_with(1), {1, 2, 2, 1}, nullptr, nullptr, nullptr, nullptr, nullptr, normalization, std::nullopt),
      std::invalid_argument);
}

}  // namespace
}  // namespace nepenthe::tests
