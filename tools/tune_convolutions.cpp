// Measures cuDNN's engines for every convolution of a network, and writes down which are the fastest.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "engine/base/error.h"
#include "engine/conv_algorithms_file.h"
#include "engine/prediction.h"
#include "engine/training.h"
#include "models/registry.h"
#include "tools/common/made_up.h"
#include "tools/common/options.h"
#include "tools/common/output.h"
#include "tools/common/program.h"
#include "tools/common/progress.h"
#include "tools/common/transfer.h"

using namespace nepenthe;

int main(int argc, char** argv) {
  Program program("tune_convolutions",
                  "Measures cuDNN's deterministic engines for a network's convolutions, for --conv-algorithms");
  std::string model = "resnet32";
  std::filesystem::path out;
  std::optional<int> image_size;
  std::vector<int> batches{128}, eval_batches;
  CLI::App& app = program.app();
  add_model(app, model);
  add_whole_numbers(app, "--batch", batches, "Sizes of training batches, the last of an epoch too");
  add_image_size_option(app, image_size, "the model's own");
  add_whole_numbers(app, "--eval-batch", eval_batches, "Sizes of evaluated batches")
      ->default_str("as evaluation takes");
  app.add_option("--out", out, "The record to write (.json)")->type_name("FILE")->required();

  return program.run(argc, argv, [&] {
    constexpr int classes = 100;
    program.places().writes(out, "--out");
    refuse_existing(out, "--out");
    Device& device = program.device();
    device.measure_conv_algorithms();
    ModelState state(device, make_architecture(model, classes));
    state.initialize({.seed = program.seed(), .purpose = purpose::initialization});
    const int side = image_size.value_or(state.architecture().image_size());
    if (eval_batches.empty()) eval_batches = {prediction_batch(side)};
    const int most = std::max(std::ranges::max(batches), std::ranges::max(eval_batches));
    const ImageSet images = made_up_pictures(device, most, classes, side);
    std::vector<std::int32_t> ids(most);
    std::iota(ids.begin(), ids.end(), 0);
    ProgressBar bar(program.quiet());
    const auto first = [&](int count) { return std::vector<std::int32_t>(ids.begin(), ids.begin() + count); };
    for (const int batch : eval_batches) predict(state, images, first(batch), batch, "measuring engines", bar);
    for (const int batch : batches) {
      // What a measured convolution leaves is undefined, so the weights may be anything after this; the learning rate
      // keeps them from growing.
      const TrainingJob job{.recipe = {.batch = batch, .lr = 1e-30, .weight_decay = 0},
                            .stream = {.seed = program.seed()},
                            .what = "measuring engines"};
      state.initialize({.seed = program.seed(), .purpose = purpose::initialization});
      CrossEntropy objective(images, first(batch), batch);
      Trainer(state).run(objective, job, bar);
    }
    write_conv_algorithms(out, device.conv_algorithms(), device.description());
    print("{} convolutions measured, their engines in {}; --conv-algorithms {} uses them\n",
          device.conv_algorithms().size(), out.string(), out.string());
    program.result()["convolutions"] = device.conv_algorithms().size();
    program.result()["conv_algorithms_digest"] = digest(device.conv_algorithms());
  });
}
