#include "kernels/softmax_cross_entropy.h"

#include <stdexcept>

#include "backends.h"
#include "reference/softmax_cross_entropy.h"
#include "tests/cases/logits.h"

namespace nepenthe::tests {
namespace {

using kernels::LogitsShape;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

/// Losses, then ranks.
template <class Backend>
Outputs forward(const Backend& backend, const LogitsShape& s, const std::vector<float>& logits,
                const std::vector<std::int32_t>& labels) {
  return deterministic(backend, [&](const auto& run) {
    const auto rows = run.upload(logits);
    const auto classes = run.upload(labels);
    auto losses = run.upload(poisoned(std::size_t(s.rows)));
    auto ranks = run.upload(std::vector<std::int32_t>(std::size_t(s.rows), -1));
    softmax_cross_entropy_forward(
        run.exec,
        {.shape = s, .losses = losses.data(), .ranks = ranks.data(), .logits = rows.data(), .labels = classes.data()});
    return Outputs{losses.host(), floats_of(ranks.host())};
  });
}

TEST_CASE("softmax_cross_entropy: the reference's backward is the complex step of its forward") {
  for (const auto& [name, shape, network] : cases::up_to(cases::logits, 250, cases::elements)) {
    CAPTURE(name);
    const LogitsShape& s = shape;
    const auto logits = widened(random_floats(std::size_t(s.rows) * s.classes, 1, 2));
    const auto labels = random_labels(s.rows, s.classes, 2);
    const auto expected = complex_step(logits, [&](const auto& z) {
      Complex mean = 0;
      for (const Complex& loss : reference::softmax_cross_entropy_forward(s, z, labels)) mean += loss / double(s.rows);
      return mean;
    });
    CHECK(relative_error(reference::softmax_cross_entropy_backward(s, logits, labels, 1.0 / s.rows), expected) <=
          reference_tolerance);
  }
}

TEST_CASE("softmax_cross_entropy: forward and backward against the reference") {
  each_backend([](const auto& backend) {
    for (const auto& [name, shape, network] : cases::logits) {
      for (const float spread : {1.0f, 30.0f}) {
        CAPTURE(name);
        CAPTURE(spread);
        const LogitsShape& s = shape;
        const auto logits = random_floats(std::size_t(s.rows) * s.classes, 1, spread);
        const auto labels = random_labels(s.rows, s.classes, 2);
        const auto wide = widened(logits);
        CHECK(relative_error(forward(backend, s, logits, labels)[0],
                             reference::softmax_cross_entropy_forward(s, wide, labels)) <= fp32_tolerance);
        for (const Accumulate accumulate : {Accumulate::assign, Accumulate::add}) {
          // Descending, and climbing.
          const float scale = (accumulate == Accumulate::add ? -2.0f : 1.0f) / static_cast<float>(s.rows);
          const auto start = before(accumulate, logits.size(), 3);
          const Outputs dlogits = deterministic(backend, [&](const auto& run) {
            const auto rows = run.upload(logits);
            const auto classes = run.upload(labels);
            auto out = run.upload(start);
            softmax_cross_entropy_backward(run.exec, {.shape = s,
                                                      .dlogits = out.data(),
                                                      .accumulate = accumulate,
                                                      .logits = rows.data(),
                                                      .labels = classes.data(),
                                                      .scale = scale});
            return Outputs{out.host()};
          });
          const auto expected = reference::softmax_cross_entropy_backward(s, wide, labels, scale);
          CHECK(relative_error(dlogits[0], after(accumulate, expected, start)) <= fp32_tolerance);
        }
      }
    }
  });
}

TEST_CASE("softmax_cross_entropy: shapes without elements are refused") {
  each_backend([](const auto& backend) {
    auto& exec = *backend.execs.front();
    CHECK_THROWS_AS(softmax_cross_entropy_forward(exec, {.shape = {0, 10}}), std::invalid_argument);
    CHECK_THROWS_AS(softmax_cross_entropy_backward(exec, {.shape = {10, 0}}), std::invalid_argument);
  });
}

TEST_CASE("softmax_cross_entropy: huge logits have finite losses, broken ones do not") {
  each_backend([](const auto& backend) {
    const auto loss = [&](const std::vector<float>& logits) {
      return forward(backend, {1, static_cast<int>(logits.size())}, logits, {0})[0][0];
    };
    CHECK(loss({1e30f, -1e30f, 5}) == 0);
    CHECK(loss({-1e30f, 1e30f, 5}) == doctest::Approx(2e30f));
    CHECK(loss({88.8f, 1000}) == doctest::Approx(911.2f));
    // A loss near zero keeps its digits: the sum's rounding must not swallow the others' share.
    for (const float lead : {12.0f, 20.0f}) {
      CHECK(loss({lead, 0}) == doctest::Approx(std::log1p(std::exp(-double{lead}))).epsilon(fp32_tolerance).scale(0));
    }
    for (const float broken : {nan, infinity, -infinity}) {
      for (std::size_t where = 0; where < 3; ++where) {
        std::vector<float> logits{1, 2, 3};
        logits[where] = broken;
        CHECK(!std::isfinite(loss(logits)));
      }
    }
  });
}

TEST_CASE("softmax_cross_entropy: ranks, larger scores first, ties to the lower class, NaN last") {
  each_backend([](const auto& backend) {
    const auto rank = [&](const std::vector<float>& logits, std::int32_t label) {
      return forward(backend, {1, static_cast<int>(logits.size())}, logits, {label})[1][0];
    };
    CHECK(rank({3, 1, 2}, 0) == 0);
    CHECK(rank({3, 1, 2}, 1) == 2);
    CHECK(rank({3, 1, 2}, 2) == 1);
    CHECK(rank({5, 5, 5}, 0) == 0);
    CHECK(rank({5, 5, 5}, 2) == 2);
    CHECK(rank({-infinity, infinity}, 1) == 0);
    CHECK(rank({nan, 1, 2, 9}, 3) == 3);
    CHECK(rank({1, 2, 9, nan}, 3) == 3);
    CHECK(rank({9, 2, 1, nan}, 0) == 3);
    CHECK(rank({nan, 2, 1}, 0) == 2);
    for (const LogitsShape& s : {LogitsShape{200, 10}, LogitsShape{37, 100}}) {
      auto logits = random_floats(std::size_t(s.rows) * s.classes, 3, 3);
      for (float& logit : logits) logit = std::round(logit);  // so that many are equal
      const auto labels = random_labels(s.rows, s.classes, 4);
      const auto ranks = forward(backend, s, logits, labels)[1];
      int wrong = 0;
      for (std::size_t row = 0; row < ranks.size(); ++row) {
        const auto first = logits.begin() + static_cast<std::ptrdiff_t>(row) * s.classes;
        const float own = first[labels[row]];
        const auto larger = std::count_if(first, first + s.classes, [&](float logit) { return logit > own; });
        wrong += ranks[row] != static_cast<float>(larger + std::count(first, first + labels[row], own));
      }
      CHECK(wrong == 0);
    }
  });
}

}  // namespace
}  // namespace nepenthe::tests
