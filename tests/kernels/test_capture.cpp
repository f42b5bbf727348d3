#include "kernels/capture.h"

#include <numeric>
#include <stdexcept>

#include "backends.h"
#include "kernels/gather.h"
#include "kernels/optimizers.h"
#include "kernels/pool.h"
#include "kernels/softmax_cross_entropy.h"
#include "kernels/step_control.h"

namespace nepenthe::tests {
namespace {

using kernels::StepControl;

/// A small training step, all of whose state is in the backend's memory: the means of a picture's three channels are
/// its logits, and their gradients, of the whole batch, move as many weights.
template <class Exec, class T>
class Step {
 public:
  static constexpr int batch = 5, samples = 20;
  static constexpr ImageShape shape{batch, 6, 5, 3};

  explicit Step(const Run<Exec, T>& run)
      : exec_(run.exec),
        bytes_(run.upload(random_bytes())),
        labels_(run.upload(random_labels(samples, 3, 2))),
        order_(run.upload(backwards())),
        control_(run.upload(std::vector<StepControl>{
            {.stream = {.seed = 4, .epoch = 2}, .order = order_.data(), .learning_rates = {0.5f, 0.1f}}})),
        images_(run.stored(poisoned(shape.size()))),
        batch_labels_(run.upload(std::vector<std::int32_t>(batch))),
        logits_(run.upload(poisoned(batch * 3))),
        losses_(run.upload(poisoned(batch))),
        ranks_(run.upload(std::vector<std::int32_t>(batch))),
        gradients_(run.upload(poisoned(batch * 3))),
        w_(run.upload(random_floats(batch * 3, 3))),
        v_(run.upload(poisoned(batch * 3))) {}

  void operator()() {
    const kernels::LogitsShape rows{batch, 3};
    const kernels::Segment segments[] = {{0, 7}, {8, 15}};
    gather<T>(exec_, {.shape = shape,
                      .images = images_.data(),
                      .batch_labels = batch_labels_.data(),
                      .bytes = bytes_.data(),
                      .labels = labels_.data(),
                      .control = control_.data(),
                      .augmentation = kernels::Augmentation{.padding = 2},
                      .mean = {0.5f, 0.4f, 0.3f},
                      .std = {0.2f, 0.3f, 0.25f}});
    global_avg_pool_forward<T>(exec_, {.shape = shape, .y = logits_.data(), .x = images_.data()});
    softmax_cross_entropy_forward(exec_, {.shape = rows,
                                          .losses = losses_.data(),
                                          .ranks = ranks_.data(),
                                          .logits = logits_.data(),
                                          .labels = batch_labels_.data()});
    tally_batch(exec_, {.rows = batch, .control = control_.data(), .losses = losses_.data(), .ranks = ranks_.data()});
    softmax_cross_entropy_backward(exec_, {.shape = rows,
                                           .dlogits = gradients_.data(),
                                           .accumulate = Accumulate::assign,
                                           .logits = logits_.data(),
                                           .labels = batch_labels_.data(),
                                           .scale = 1.0f / batch});
    sgd_step(
        exec_,
        {.segments = segments, .w = w_.data(), .v = v_.data(), .grad = gradients_.data(), .control = control_.data()});
  }

  StepControl control() const { return control_.host()[0]; }
  Outputs state() const {
    const StepControl c = control();
    return {floats_of(images_.host()),
            logits_.host(),
            losses_.host(),
            w_.host(),
            v_.host(),
            {float(c.offset), float(c.steps), float(c.seen), float(c.right), float(c.loss_sum)}};
  }

 private:
  static std::vector<std::uint8_t> random_bytes() {
    const auto values = random_labels(samples * 3 * shape.h * shape.w, 256, 1);
    return {values.begin(), values.end()};
  }
  static std::vector<std::int32_t> backwards() {
    std::vector<std::int32_t> order(samples);
    std::iota(order.rbegin(), order.rend(), 0);
    return order;
  }

  Exec& exec_;
  Buffer<Exec, std::uint8_t> bytes_;
  Buffer<Exec, std::int32_t> labels_, order_;
  Buffer<Exec, StepControl> control_;
  Buffer<Exec, T> images_;
  Buffer<Exec, std::int32_t> batch_labels_;
  Buffer<Exec, float> logits_, losses_;
  Buffer<Exec, std::int32_t> ranks_;
  Buffer<Exec, float> gradients_, w_, v_;
};

TEST_CASE("captured: replays are steps as they are without, to the bit") {
  each_storage([](const auto& backend) {
    const Outputs eager = deterministic(backend, [](const auto& run) {
      Step step(run);
      for (int i = 0; i < 4; ++i) step();
      return step.state();
    });
    const Outputs replayed = deterministic(backend, [&](const auto& run) {
      Step step(run);
      step();
      const auto captured = capture(run.exec, [&] { step(); });
      CHECK(step.control().steps == 1);  // recorded, not run
      if (backend.on_cpu)
        CHECK(captured->launches() == 0);
      else
        CHECK(captured->launches() == 6);
      captured->replay();
      CHECK(step.control().steps == 2);
      step();  // one without, between replays
      captured->replay();
      CHECK(step.control().offset == 4 * step.batch);
      return step.state();
    });
    for (std::size_t i = 0; i < eager.size(); ++i) CHECK(same_bits(eager[i], replayed[i]));
  });
}

TEST_CASE("captured: a failure is passed on, and the backend goes on") {
  each_backend([](const auto& backend) {
    const auto run = backend.run();
    Step step(run);
    step();
    CHECK_THROWS_AS(capture(run.exec,
                            [&] {
                              step();
                              throw std::range_error("while captured");
                            })
                        ->replay(),
                    std::range_error);
    const auto steps = step.control().steps;  // the CPU has run what came before the failure
    const auto captured = capture(run.exec, [&] { step(); });
    captured->replay();
    CHECK(step.control().steps == steps + 1);
  });
}

}  // namespace
}  // namespace nepenthe::tests
