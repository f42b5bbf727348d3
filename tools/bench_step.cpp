// Times training or evaluation steps on made-up pictures, through the same loops that the other programs use.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "engine/trainer.h"
#include "models/registry.h"
#include "tools/common/program.h"
#include "tools/common/progress.h"
#include "tools/common/report.h"

using namespace nepenthe;

namespace {

/// Notes when each step ends.
class StepClock : public Observer {
 public:
  void begin(const std::string&) override { last_ = Clock::now(); }
  void progress(const Progress&) override {
    const auto now = Clock::now();
    milliseconds.push_back(std::chrono::duration<double, std::milli>(now - last_).count());
    last_ = now;
  }
  bool stop_requested() override { return stop_asked_for(); }
  std::vector<double> milliseconds;

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point last_;
};

/// Random bytes; the labels count through the classes.
ImageSet made_up_pictures(Device& device, int count, int classes) {
  std::vector<std::uint8_t> pixels(std::size_t(count) * 3072);
  const RandomStream stream{.purpose = purpose::synthetic};
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = static_cast<std::uint8_t>(kernels::random_bits(stream, static_cast<std::uint32_t>(i)).x);
  }
  std::vector<std::int32_t> labels(count);
  for (int i = 0; i < count; ++i) labels[i] = i % classes;
  return ImageSet(device, pixels, labels, {.mean = {0.5f, 0.5f, 0.5f}, .std = {0.25f, 0.25f, 0.25f}});
}

}  // namespace

int main(int argc, char** argv) {
  Program program("bench_step", "Times training or evaluation steps on made-up pictures");
  std::string model = "resnet32", mode = "train";
  int batch = 128, steps = 30, warmup = 5;
  CLI::App& app = program.app();
  app.add_option("--model", model, "resnet20, resnet32, resnet44 or resnet56");
  app.add_option("--batch", batch, "Pictures a step")->check(CLI::PositiveNumber);
  app.add_option("--mode", mode, "train or eval")->check(CLI::IsMember({"train", "eval"}));
  app.add_option("--steps", steps, "Steps to time")->check(CLI::PositiveNumber);
  app.add_option("--warmup", warmup, "Steps before, not timed")->check(CLI::NonNegativeNumber);

  return program.run(argc, argv, [&] {
    constexpr int classes = 100;
    Device& device = program.device();
    const auto network = make_network(device, model, classes);
    network->parameters().initialize({.seed = program.seed(), .purpose = purpose::initialization});
    const ImageSet images = made_up_pictures(device, batch, classes);
    StepClock clock;
    std::vector<std::int32_t> ids(batch);
    for (int i = 0; i < batch; ++i) ids[i] = i;
    if (mode == "train") {
      // An epoch is one step, so the order of an epoch, gather and augmentation are timed too.
      const TrainingJob job{.ids = ids,
                            .recipe = {.epochs = warmup + steps, .batch = batch, .lr = 0.01},
                            .stream = {.seed = program.seed()},
                            .what = model};
      train(*network, images, job, clock);
    } else {
      for (int step = 0; step < warmup + steps; ++step) predict(*network, images, ids, batch, model, clock);
    }
    std::vector<double> times(clock.milliseconds.begin() + warmup, clock.milliseconds.end());
    std::ranges::sort(times);
    const double median = (times[times.size() / 2] + times[(times.size() - 1) / 2]) / 2;
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const std::int64_t peak = std::int64_t{usage.ru_maxrss} * 1024;
    const double rate = 1000.0 * batch / median;
    fmt::print(
        "{} {}, batch {}: {:.1f} ms a step (median of {}; {:.1f} to {:.1f}), {:.0f} images/s, {:.0f} MiB at most\n",
        model, mode, batch, median, steps, times.front(), times.back(), rate, static_cast<double>(peak) / (1 << 20));
    fmt::print("a step: gather{} and normalisation, forward{}\n", mode == "train" ? ", augmentation" : "",
               mode == "train" ? ", loss, backward, optimiser" : ", losses and ranks to the host");
    program.result()["bench"] = {{"step_ms", {{"median", median}, {"min", times.front()}, {"max", times.back()}}},
                                 {"images_per_second", rate},
                                 {"peak_memory_bytes", peak}};
  });
}
