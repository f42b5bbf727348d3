// Times training or evaluation steps on made-up pictures, through the same loops that the other programs use.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "engine/base/error.h"
#include "engine/conv_algorithms_file.h"
#include "engine/prediction.h"
#include "engine/step_profile.h"
#include "engine/training.h"
#include "kernels/revision.h"
#include "models/registry.h"
#include "tools/common/made_up.h"
#include "tools/common/options.h"
#include "tools/common/output.h"
#include "tools/common/program.h"
#include "tools/common/progress.h"
#include "tools/common/transfer.h"
#include "unlearning/study/table.h"

using namespace nepenthe;

namespace {

/// Notes how long a step takes, on average over each epoch, at whose end the device has done its work.
class EpochClock : public Observer {
 public:
  EpochClock(std::int64_t samples_of_epoch, int steps) : samples_of_epoch_(samples_of_epoch), steps_(steps) {}
  void begin(const std::string&) override { last_ = Clock::now(); }
  void progress(const Progress& p) override {
    if (p.samples % samples_of_epoch_ != 0) return;
    const auto now = Clock::now();
    milliseconds.push_back(std::chrono::duration<double, std::milli>(now - last_).count() / steps_);
    last_ = now;
  }
  bool stop_requested() override { return stop_asked_for(); }
  std::vector<double> milliseconds;

 private:
  using Clock = std::chrono::steady_clock;
  std::int64_t samples_of_epoch_;
  int steps_;
  Clock::time_point last_;
};

double median_of_sorted(const std::vector<double>& values) {
  return (values[values.size() / 2] + values[(values.size() - 1) / 2]) / 2;
}

/// Where a step's time goes, the largest part first.
std::string profile_table(const kernels::RangeTimes& profile) {
  std::vector<std::pair<std::string, kernels::RangeTime>> rows(profile.begin(), profile.end());
  std::ranges::sort(rows, std::greater(), [](const auto& row) { return row.second.milliseconds; });
  double total = 0;
  for (const auto& [op, time] : rows) total += time.milliseconds;
  Table table({"time of a step on the device", "calls", "us", "share"});
  for (const auto& [op, time] : rows) {
    table.add({op, fmt::format("{}", time.count), fmt::format("{:.1f}", 1000 * time.milliseconds),
               percent(time.milliseconds / total)});
  }
  table.add_rule();
  table.add({"all", "", fmt::format("{:.1f}", 1000 * total), ""});
  return table.text();
}

}  // namespace

int main(int argc, char** argv) {
  Program program("bench_step", "Times training or evaluation steps on made-up pictures");
  std::string model = "resnet32", mode = "train";
  int batch = 128, steps = 30, warmup = 5, group = 0;
  bool profiled = false;
  std::optional<int> image_size;
  CLI::App& app = program.app();
  add_model(app, model);
  add_whole_number(app, "--batch", batch, 1, "Pictures a step");
  app.add_option("--mode", mode, "train or eval")->check(one_of({"train", "eval"}));
  add_image_size_option(app, image_size, "the model's own");
  add_whole_number(app, "--steps", steps, 1, "Times to take, each of a group of steps");
  add_whole_number(app, "--warmup", warmup, 0, "Groups before, not timed");
  add_whole_number(app, "--group", group, 0, "Steps between two looks at the clock; 0: 1 on the CPU, 100 on CUDA");
  app.add_flag("--profile", profiled, "Also say where the time of one more step goes, op by op");

  return program.run(argc, argv, [&] {
    constexpr int classes = 100;
    Device& device = program.device();
    print("{}\n", device.description());
    if (group == 0) group = device.waits_for_results() ? 100 : 1;
    if (profiled && device.waits_for_results() && (mode == "eval" || group < 3)) {
      throw UsageError("--profile: on CUDA a training step is profiled, with --group 3 or more");
    }
    ModelState state(device, make_architecture(model, classes));
    state.initialize({.seed = program.seed(), .purpose = purpose::initialization});
    const int samples = batch * group;
    const int side = image_size.value_or(state.architecture().image_size());
    const ImageSet images = made_up_pictures(device, samples, classes, side);
    std::vector<std::int32_t> ids(samples);
    std::iota(ids.begin(), ids.end(), 0);
    EpochClock clock(samples, group);
    std::size_t launches = 0;
    kernels::RangeTimes profile;
    if (mode == "train") {
      // An epoch is a group, so the order of an epoch, gather and augmentation are timed too.
      const TrainingJob job{.recipe = {.epochs = warmup + steps, .batch = batch, .lr = 0.01},
                            .stream = {.seed = program.seed()},
                            .what = model};
      CrossEntropy objective(images, ids, batch);
      launches = Trainer(state).run(objective, job, clock).launches;
      if (profiled) profile = profile_training_step(state, images, ids, job.recipe);
    } else {
      for (int turn = 0; turn < warmup + steps; ++turn) predict(state, images, ids, batch, model, clock);
      ids.resize(batch);
      if (profiled) profile = profile_evaluation(state, images, ids, batch);
    }
    std::vector<double> times(clock.milliseconds.begin() + warmup, clock.milliseconds.end());
    std::ranges::sort(times);
    const double median = median_of_sorted(times);
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const std::size_t on_device = device.waits_for_results() ? device.peak_bytes() : 0;
    const std::size_t peak = on_device > 0 ? on_device : std::size_t(usage.ru_maxrss) * 1024;
    const double rate = 1000.0 * batch / median;
    print(
        "{} {}, {} px, batch {}: {:.3f} ms a step (median of {}; {:.3f} to {:.3f}), {:.0f} images/s, {:.0f} MiB at "
        "most{}\n",
        model, mode, side, batch, median, steps, times.front(), times.back(), rate,
        static_cast<double>(peak) / (1 << 20),
        launches > 0 ? fmt::format(", {} kernels and copies in a captured step", launches) : "");
    print("a step: gather{} and normalisation, forward{}\n", mode == "train" ? ", augmentation" : "",
          mode == "train" ? ", loss, backward, optimiser" : ", losses and ranks");
    if (!profile.empty()) print("\n{}\n", profile_table(profile));
    for (const auto& [op, time] : profile) {
      program.result()["profile"][op] = {{"milliseconds", time.milliseconds}, {"ranges", time.count}};
    }
    program.result()["bench"] = {{"step_ms", {{"median", median}, {"min", times.front()}, {"max", times.back()}}},
                                 {"image_size", side},
                                 {"images_per_second", rate},
                                 {"peak_memory_bytes", peak},
                                 {"step_tensor_bytes", device.step_arena().peak_bytes()},
                                 {"launches", launches},
                                 {"multiply_adds", state.architecture().multiply_adds(side)},
                                 {"steps_in_a_group", group},
                                 {"conv_algorithms_digest", digest(device.given_conv_algorithms())}};
  });
}
