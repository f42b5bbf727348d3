#include "kernels/softmax_cross_entropy.h"

#include "harness.h"
#include "reference/softmax_cross_entropy.h"

namespace nepenthe::tests {
namespace {

using kernels::LogitsShape;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> losses_of(const LogitsShape& s, const std::vector<float>& logits,
                             const std::vector<std::int32_t>& labels) {
  return deterministic([&](CpuExec& exec) {
    Outputs out{poisoned(s.rows)};
    softmax_cross_entropy_forward(exec, s, out[0].data(), logits.data(), labels.data());
    return out;
  })[0];
}

TEST_CASE("softmax_cross_entropy: the reference's backward is the complex step of its forward") {
  const LogitsShape s{3, 5};
  const auto logits = widened(random_floats(15, 1, 2));
  const std::vector<std::int32_t> labels{4, 0, 2};
  const auto expected = complex_step(logits, [&](const auto& z) {
    Complex mean = 0;
    for (const Complex& loss : reference::softmax_cross_entropy_forward(s, z, labels)) mean += loss / 3.0;
    return mean;
  });
  CHECK(relative_error(reference::softmax_cross_entropy_backward(s, logits, labels, 1.0 / 3), expected) <=
        reference_tolerance);
}

TEST_CASE("softmax_cross_entropy: forward and backward against the reference") {
  MESSAGE(exec_with(1).description());
  for (const LogitsShape& s : {LogitsShape{1, 1}, LogitsShape{1, 10}, LogitsShape{33, 7}, LogitsShape{128, 100}}) {
    for (const float scale : {1.0f, 30.0f}) {
      const auto logits = random_floats(std::size_t(s.rows) * s.classes, 1, scale);
      const auto labels = random_labels(s.rows, s.classes, 2);
      const auto wide = widened(logits);
      CHECK(relative_error(losses_of(s, logits, labels), reference::softmax_cross_entropy_forward(s, wide, labels)) <=
            fp32_tolerance);
      const float share = 1.0f / static_cast<float>(s.rows);
      const Outputs dlogits = deterministic([&](CpuExec& exec) {
        Outputs out{poisoned(logits.size())};
        softmax_cross_entropy_backward(exec, s, out[0].data(), logits.data(), labels.data(), share);
        return out;
      });
      CHECK(relative_error(dlogits[0], reference::softmax_cross_entropy_backward(s, wide, labels, share)) <=
            fp32_tolerance);
    }
  }
}

TEST_CASE("softmax_cross_entropy: huge logits have finite losses, broken ones do not") {
  const std::vector<std::int32_t> first{0};
  CHECK(losses_of({1, 3}, {1e30f, -1e30f, 5}, first)[0] == 0);
  CHECK(losses_of({1, 3}, {-1e30f, 1e30f, 5}, first)[0] == doctest::Approx(2e30f));
  CHECK(losses_of({1, 2}, {88.8f, 1000}, first)[0] == doctest::Approx(911.2f));
  for (const float broken : {nan, infinity, -infinity}) {
    for (std::size_t where = 0; where < 3; ++where) {
      std::vector<float> logits{1, 2, 3};
      logits[where] = broken;
      CHECK(!std::isfinite(losses_of({1, 3}, logits, first)[0]));
    }
  }
}

TEST_CASE("true_class_rank: larger scores first, ties to the lower class, NaN last") {
  const auto rank = [](const std::vector<float>& logits, std::int32_t label) {
    std::int32_t result = -1;
    const LogitsShape s{1, static_cast<int>(logits.size())};
    true_class_rank(exec_with(1), s, &result, logits.data(), &label);
    return result;
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
  const LogitsShape s{200, 10};
  const auto logits = random_floats(2000, 3);
  const auto labels = random_labels(200, 10, 4);
  std::vector<std::int32_t> alone(200), team(200);
  true_class_rank(exec_with(1), s, alone.data(), logits.data(), labels.data());
  true_class_rank(exec_with(3), s, team.data(), logits.data(), labels.data());
  CHECK(alone == team);
}

}  // namespace
}  // namespace nepenthe::tests
