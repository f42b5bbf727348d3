#include "kernels/gather.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <set>
#include <stdexcept>

#include "backends.h"
#include "tests/cases/gather.h"

namespace nepenthe::tests {
namespace {

using kernels::Augmentation;
using kernels::Gather;
using kernels::StepControl;

const std::array<float, 3> mean{0.5f, 0.4f, 0.3f}, deviation{0.2f, 0.3f, 0.25f};

struct Pictures {
  int samples, h, w;
  std::vector<std::uint8_t> bytes;
  std::vector<std::int32_t> labels;

  Pictures(int samples_, int h_, int w_) : samples(samples_), h(h_), w(w_), labels(random_labels(samples_, 100, 1)) {
    for (const auto byte : random_labels(samples * 3 * h * w, 256, 2)) bytes.push_back(static_cast<std::uint8_t>(byte));
  }
};

/// What one element of the picture should be, step by step: pad, crop, flip, scale, normalise.
float expected(const Pictures& p, int id, const std::optional<Augmentation>& augmentation, const RandomStream& stream,
               int c, int r, int s) {
  int row = r, column = s;
  if (augmentation) {
    const auto bits = random_bits(stream, static_cast<std::uint32_t>(id));
    const auto choices = static_cast<std::uint32_t>(2 * augmentation->padding + 1);
    const int top = static_cast<int>(random_below(bits.x, choices));
    const int left = static_cast<int>(random_below(bits.y, choices));
    if (bits.z & 0x80000000u) column = p.w - 1 - s;
    row += top - augmentation->padding;
    column += left - augmentation->padding;
  }
  const bool inside = row >= 0 && row < p.h && column >= 0 && column < p.w;
  const int raw = inside ? p.bytes[((std::size_t(id) * 3 + c) * p.h + row) * p.w + column] : 0;
  return (static_cast<float>(raw) / 255.0f - mean[c]) / deviation[c];
}

/// Images as plain (N, H, W, C), then labels as floats. `ids` are those from `offset` on in the epoch's order.
template <class Backend>
Outputs gathered(const Backend& backend, const Pictures& p, const std::vector<std::int32_t>& ids,
                 const std::optional<Augmentation>& augmentation, const RandomStream& stream, unsigned offset = 0,
                 int scale = 1) {
  const ImageShape shape{static_cast<int>(ids.size()), p.h * scale, p.w * scale, 3};
  std::vector<std::int32_t> order(offset, 0);
  order.insert(order.end(), ids.begin(), ids.end());
  return deterministic(backend, [&](const auto& run) {
    const auto bytes = run.upload(p.bytes);
    const auto labels = run.upload(p.labels), order_there = run.upload(order);
    const auto control =
        run.upload(std::vector<StepControl>{{.stream = stream, .order = order_there.data(), .offset = offset}});
    auto images = run.images(shape, poisoned(shape.size()));
    auto batch_labels = run.upload(std::vector<std::int32_t>(ids.size(), -1));
    gather(run.exec, Gather{.shape = shape,
                            .scale = scale,
                            .images = images.data(),
                            .batch_labels = batch_labels.data(),
                            .bytes = bytes.data(),
                            .labels = labels.data(),
                            .control = control.data(),
                            .augmentation = augmentation,
                            .mean = mean,
                            .std = deviation});
    return Outputs{run.plain(shape, images), floats_of(batch_labels.host())};
  });
}

template <class Backend>
void check(const Backend& backend, const Pictures& p, const std::vector<std::int32_t>& ids,
           const std::optional<Augmentation>& augmentation, const RandomStream& stream, unsigned offset, int scale) {
  const Outputs out = gathered(backend, p, ids, augmentation, stream, offset, scale);
  std::vector<float> images;
  for (std::size_t n = 0; n < ids.size(); ++n) {
    for (int r = 0; r < p.h * scale; ++r) {
      for (int s = 0; s < p.w * scale; ++s) {
        for (int c = 0; c < 3; ++c)
          images.push_back(expected(p, ids[n], augmentation, stream, c, r / scale, s / scale));
      }
    }
    CHECK(out[1][n] == static_cast<float>(p.labels[std::size_t(ids[n])]));
  }
  images = backend.rounded(images);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < images.size(); ++i) wrong += out[0][i] != images[i];
  CHECK(wrong == 0);
}

TEST_CASE("gather: against a plain rewriting of the contract") {
  each_storage([](const auto& backend) {
    for (const auto& [name, gathering, network] : cases::gather) {
      CAPTURE(name);
      const auto& [shape, padding, offset, scale] = gathering;
      const int samples = shape.n + 17;
      std::vector<std::int32_t> ids(std::size_t(shape.n));
      for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>((i + 1) * 37) % samples;
      std::optional<Augmentation> augmentation;
      if (padding) augmentation = {.padding = *padding};
      const RandomStream stream{.seed = 3, .purpose = 2, .shard = 1, .stage = 5, .epoch = 8};
      check(backend, Pictures(samples, shape.h / scale, shape.w / scale), ids, augmentation, stream, offset, scale);
    }
  });
}

TEST_CASE("gather: a sample's picture depends neither on its place nor on its company") {
  each_storage([](const auto& backend) {
    const Pictures pictures(40, 8, 8);
    std::vector<std::int32_t> ids(40);
    std::iota(ids.begin(), ids.end(), 0);
    const RandomStream stream{.seed = 11, .epoch = 2};
    const Outputs all = gathered(backend, pictures, ids, Augmentation{}, stream);
    const Outputs some = gathered(backend, pictures, {39, 3, 3, 17}, Augmentation{}, stream, 6);
    const std::size_t size = 8 * 8 * 3;
    for (const auto& [place, id] : {std::pair{0, 39}, {1, 3}, {2, 3}, {3, 17}}) {
      const auto begin = some[0].begin() + place * size;
      CHECK(std::equal(begin, begin + size, all[0].begin() + id * size));
    }
    CHECK(!same_bits(all[0], gathered(backend, pictures, ids, Augmentation{}, {.seed = 11, .epoch = 3})[0]));
  });
}

template <class Backend>
void check_frequencies(const Backend& backend) {
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
  const Outputs out = gathered(backend, pictures, ids, Augmentation{}, {.seed = 12});
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

TEST_CASE("gather: all 81 crops occur about equally often, and half of the pictures are flipped" *
          doctest::skip(emulated)) {
  each_backend([](const auto& backend) { check_frequencies(backend); });
}

TEST_CASE("gather rows: those of the order, from the offset on, with their labels") {
  each_backend([](const auto& backend) {
    for (const auto& [rows, width] : {std::pair{1, 1}, {3, 64}, {37, 5}, {130, 512}, {2, 300}}) {
      CAPTURE(rows);
      CAPTURE(width);
      constexpr unsigned offset = 5;
      const int samples = rows + 9;
      const std::vector<float> values = random_floats(std::size_t(samples) * std::size_t(width), 1);
      const std::vector<std::int32_t> labels = random_labels(samples, 100, 2);
      std::vector<std::int32_t> order(offset, 0);
      for (int i = 0; i < rows; ++i) order.push_back((i + 1) * 37 % samples);
      const Outputs out = deterministic(backend, [&](const auto& run) {
        const auto values_there = run.upload(values);
        const auto labels_there = run.upload(labels), order_there = run.upload(order);
        const auto control = run.upload(std::vector<StepControl>{{.order = order_there.data(), .offset = offset}});
        auto batch = run.upload(poisoned(std::size_t(rows) * std::size_t(width)));
        auto batch_labels = run.upload(std::vector<std::int32_t>(std::size_t(rows), -1));
        gather_rows(run.exec, kernels::GatherRows{.rows = rows,
                                                  .width = width,
                                                  .batch = batch.data(),
                                                  .batch_labels = batch_labels.data(),
                                                  .values = values_there.data(),
                                                  .labels = labels_there.data(),
                                                  .control = control.data()});
        return Outputs{batch.host(), floats_of(batch_labels.host())};
      });
      for (int n = 0; n < rows; ++n) {
        const std::int32_t id = order[offset + std::size_t(n)];
        CHECK(out[1][std::size_t(n)] == static_cast<float>(labels[std::size_t(id)]));
        CHECK(std::equal(values.begin() + std::ptrdiff_t{id} * width, values.begin() + std::ptrdiff_t{id + 1} * width,
                         out[0].begin() + std::ptrdiff_t{n} * width));
      }
    }
  });
}

TEST_CASE("gather rows: none, or of nothing, are refused") {
  each_backend([](const auto& backend) {
    const auto run = backend.run();
    for (const auto& [rows, width] : {std::pair{0, 4}, {4, 0}, {-1, 4}}) {
      CHECK_THROWS_AS(gather_rows(run.exec, kernels::GatherRows{.rows = rows, .width = width}), std::invalid_argument);
    }
  });
}

TEST_CASE("gather: other than three channels, and sides that do not fit the scale, are refused") {
  each_backend([](const auto& backend) {
    const auto run = backend.run();
    auto images = run.stored(poisoned(4));
    CHECK_THROWS_AS(gather(run.exec, Gather{.shape = {1, 2, 2, 1}, .images = images.data()}), std::invalid_argument);
    for (const int scale : {-1, 0, 3}) {
      CHECK_THROWS_AS(gather(run.exec, Gather{.shape = {1, 2, 6, 3}, .scale = scale, .images = images.data()}),
                      std::invalid_argument);
    }
  });
}

}  // namespace
}  // namespace nepenthe::tests
