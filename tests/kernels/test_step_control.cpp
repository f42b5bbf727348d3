#include "kernels/step_control.h"

#include <array>
#include <bit>

#include "backends.h"

namespace nepenthe::tests {
namespace {

using kernels::LogitsShape;
using kernels::StepControl;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

constexpr std::int32_t random_order[] = {4};  // nothing here reads it

/// In the middle of an epoch.
const StepControl start{.stream = {.seed = 9, .purpose = 8, .shard = 7, .stage = 6, .epoch = 3},
                        .order = random_order,
                        .offset = 7,
                        .learning_rates = {0.5f, 0.25f},
                        .steps = 41,
                        .loss_sum = 2.5,
                        .seen = 100,
                        .right = 60};

/// A control as an output, and back.
using ControlBits = std::array<float, sizeof(StepControl) / sizeof(float)>;
std::vector<float> output_of(const StepControl& control) {
  const auto bits = std::bit_cast<ControlBits>(control);
  return {bits.begin(), bits.end()};
}
StepControl control_of(const std::vector<float>& output) {
  ControlBits bits;
  std::copy_n(output.begin(), bits.size(), bits.begin());
  return std::bit_cast<StepControl>(bits);
}

struct Batch {
  std::vector<float> losses;
  std::vector<std::int32_t> ranks;

  Batch(int rows, std::uint32_t purpose)
      : losses(random_floats(std::size_t(rows), purpose)), ranks(random_labels(rows, 3, purpose)) {}
  double loss_sum() const {
    double sum = 0;
    for (const float loss : losses) sum += loss;
    return sum;
  }
  std::int64_t right() const { return std::count(ranks.begin(), ranks.end(), 0); }
};

/// The control after these batches.
template <class Backend>
StepControl recorded(const Backend& backend, const std::vector<Batch>& batches) {
  const Outputs out = deterministic(backend, [&](const auto& run) {
    auto control = run.upload(std::vector<StepControl>{start});
    for (const Batch& batch : batches) {
      tally_batch(run.exec, {.rows = static_cast<int>(batch.losses.size()),
                             .control = control.data(),
                             .losses = run.upload(batch.losses).data(),
                             .ranks = run.upload(batch.ranks).data()});
    }
    return Outputs{output_of(control.host()[0])};
  });
  return control_of(out[0]);
}

void check_untouched(const StepControl& control) {
  using Words = std::array<std::uint32_t, sizeof(RandomStream) / sizeof(std::uint32_t)>;
  CHECK(std::bit_cast<Words>(control.stream) == std::bit_cast<Words>(start.stream));
  CHECK(control.order == start.order);
  CHECK(control.learning_rates[0] == start.learning_rates[0]);
  CHECK(control.learning_rates[1] == start.learning_rates[1]);
}

TEST_CASE("step_control: tally_batch adds to the totals and moves on") {
  each_backend([](const auto& backend) {
    for (const int rows : {1, 5, 128, 300}) {
      CAPTURE(rows);
      const Batch one(rows, 1), two(rows, 2);
      const StepControl control = recorded(backend, {one, two});
      check_untouched(control);
      CHECK(control.offset == start.offset + 2 * rows);
      CHECK(control.steps == start.steps + 2);
      CHECK(control.loss_sum == doctest::Approx(start.loss_sum + one.loss_sum() + two.loss_sum()).epsilon(1e-12));
      CHECK(control.seen == start.seen + 2 * rows);
      CHECK(control.right == start.right + one.right() + two.right());
      CHECK(control.diverged_at == 0);
      CHECK(control.diverged_loss == 0);
    }
  });
}

TEST_CASE("step_control: the first loss that is not finite is kept, and the totals stay") {
  each_backend([](const auto& backend) {
    for (const int rows : {1, 9, 300}) {
      for (const float broken : {nan, infinity, -infinity}) {
        CAPTURE(rows);
        CAPTURE(broken);
        const Batch good(rows, 1);
        Batch bad(rows, 2), worse(rows, 3);
        bad.losses.back() = broken;
        worse.losses.front() = std::isnan(broken) ? infinity : nan;
        const StepControl control = recorded(backend, {good, bad, good, worse});
        check_untouched(control);
        CHECK(control.offset == start.offset + 4 * rows);
        CHECK(control.steps == start.steps + 4);
        CHECK(control.loss_sum == doctest::Approx(start.loss_sum + good.loss_sum()).epsilon(1e-12));
        CHECK(control.seen == start.seen + rows);
        CHECK(control.right == start.right + good.right());
        CHECK(control.diverged_at == start.steps + 2);
        if (std::isnan(broken))
          CHECK(std::isnan(control.diverged_loss));
        else
          CHECK(control.diverged_loss == double{broken});
      }
    }
  });
}

TEST_CASE("step_control: store_predictions puts a batch behind the one before") {
  each_backend([](const auto& backend) {
    for (const int classes : {1, 10, 300}) {
      CAPTURE(classes);
      constexpr int samples = 20, rows[] = {6, 3};  // 7 samples before them, 4 after
      const auto per_row = std::size_t(classes);
      const std::vector<float> logits[] = {random_floats(rows[0] * per_row, 1), random_floats(rows[1] * per_row, 2)};
      const Batch batches[] = {{rows[0], 3}, {rows[1], 4}};
      const auto logits_before = random_floats(samples * per_row, 5), losses_before = random_floats(samples, 6);
      const std::vector<std::int32_t> ranks_before = random_labels(samples, 100, 7);
      const Outputs out = deterministic(backend, [&](const auto& run) {
        auto control = run.upload(std::vector<StepControl>{start});
        auto all_logits = run.upload(logits_before), all_losses = run.upload(losses_before);
        auto all_ranks = run.upload(ranks_before);
        for (int i = 0; i < 2; ++i) {
          store_predictions(run.exec, {.shape = {rows[i], classes},
                                       .control = control.data(),
                                       .all = {all_logits.data(), all_losses.data(), all_ranks.data()},
                                       .logits = run.upload(logits[i]).data(),
                                       .losses = run.upload(batches[i].losses).data(),
                                       .ranks = run.upload(batches[i].ranks).data()});
        }
        return Outputs{all_logits.host(), all_losses.host(), floats_of(all_ranks.host()), output_of(control.host()[0])};
      });
      auto expected_logits = logits_before, expected_losses = losses_before, expected_ranks = floats_of(ranks_before);
      std::int64_t row = start.offset;
      for (int i = 0; i < 2; ++i) {
        std::copy(logits[i].begin(), logits[i].end(), expected_logits.begin() + row * classes);
        std::copy(batches[i].losses.begin(), batches[i].losses.end(), expected_losses.begin() + row);
        std::copy(batches[i].ranks.begin(), batches[i].ranks.end(), expected_ranks.begin() + row);
        row += rows[i];
      }
      CHECK(same_bits(out[0], expected_logits));
      CHECK(same_bits(out[1], expected_losses));
      CHECK(same_bits(out[2], expected_ranks));
      const StepControl control = control_of(out[3]);
      check_untouched(control);
      CHECK(control.offset == row);
      CHECK(control.steps == start.steps);
      CHECK(control.loss_sum ==
            doctest::Approx(start.loss_sum + batches[0].loss_sum() + batches[1].loss_sum()).epsilon(1e-12));
      CHECK(control.seen == start.seen + 9);
      CHECK(control.right == start.right + batches[0].right() + batches[1].right());
    }
  });
}

}  // namespace
}  // namespace nepenthe::tests
