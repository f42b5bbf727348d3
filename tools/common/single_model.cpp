#include "tools/common/single_model.h"

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

#include "models/registry.h"
#include "models/weights.h"
#include "tools/common/options.h"
#include "tools/common/output.h"
#include "tools/common/progress.h"
#include "tools/common/report.h"
#include "tools/common/start_weights.h"
#include "unlearning/evaluation.h"
#include "unlearning/forget_spec.h"
#include "unlearning/permutation.h"

namespace nepenthe {

void add_single_model_options(Program& program, SingleModelOptions& options) {
  CLI::App& app = program.app();
  app.add_option("--data", options.data, "Folder of CIFAR-100 or CIFAR-10 binary files")->type_name("DIR")->required();
  app.add_option("--model", options.training.model, "resnet20, resnet32, resnet44 or resnet56")->type_name("NAME");
  add_whole_number(app, "--epochs", options.training.recipe.epochs, 1, "Passes over the data");
  add_recipe_options(app, options.training.recipe);
  app.add_option("--out", options.training.out, "The checkpoint to write (.safetensors)")
      ->type_name("FILE")
      ->required();
  app.add_flag("--resume", options.training.resume, "Continue an interrupted training");
}

void run_single_model(Program& program, SingleModelOptions& options) {
  SingleModelTraining& training = options.training;
  require_writable_place(training.out, "--out");
  refuse_existing(training.out, "--out");
  training.seed = program.seed();
  const InterruptedTraining before =
      training.resume ? interrupted_training(training.out) : InterruptedTraining{.isa = {}, .device = {}};
  program.prefer_isa(before.isa);
  Device& device = program.device();
  if (!before.device.empty() && before.device != device.description()) {
    program.say(fmt::format("note: the training was begun on {}, this is {}: results may differ in the last bits",
                            before.device, device.description()));
  }
  make_architecture(training.model, 10);  // an unknown name is told before the data is read
  const Dataset dataset = read_dataset(options.data);
  const std::vector<std::int32_t> permutation = make_permutation(dataset.train.count(), training.seed);
  const auto architecture = make_architecture(training.model, dataset.classes);
  if (options.keeps_head) {
    refuse_new_head(training.weights, *architecture);
  } else {
    tell_of_new_head(program, training.weights, *architecture);
  }
  if (!options.left_out.empty()) {
    training.left_out = resolve_forget_spec(options.left_out, forget_context(dataset, permutation, training.seed));
  }
  program.say(fmt::format("{}: {} of {} training samples, {} classes, {}, {} epochs", dataset.name,
                          grouped(dataset.train.count() - static_cast<int>(training.left_out.size())),
                          grouped(dataset.train.count()), dataset.classes, training.model, training.recipe.epochs));

  ProgressBar bar(program.quiet());
  SingleModelResult result;
  try {
    result = train_single_model(training, dataset, device, bar);
  } catch (const Interrupted& interrupted) {
    throw Interrupted(fmt::format("{}; the same command with --resume continues", interrupted.what()));
  } catch (const UsageError& error) {
    throw UsageError(fmt::format("{}{}", training.resume ? "--resume: " : "", error.what()));
  }

  std::optional<Metrics> test;
  double eval_seconds = 0;
  try {
    ModelState model(device, architecture);
    load_weights(training.out, model);
    const Evaluator evaluator(device, dataset);
    const auto eval_began = std::chrono::steady_clock::now();
    const auto predictions =
        evaluator.predict(model, evaluation_sets({"test"}, dataset, {}), training.model, bar).at("test");
    eval_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - eval_began).count();
    test = measure(predictions.losses, predictions.ranks);
  } catch (const Interrupted&) {
    program.say("the training is done; its evaluation was interrupted, eval_model makes it");
  }

  if (test) {
    Table table({"", "top-1", "top-5", "loss"});
    table.add({"test", percent(test->top1), percent(test->top5), decimals(test->loss, 4)});
    print("{}\n", table.text());
  }
  print("last epoch's training loss {:.4f}; {} sample passes in {}\n{}  SHA-256 {}\n", result.training.loss,
        grouped(result.training.sample_passes), duration(result.training.seconds), training.out.string(),
        result.digest);

  auto& json = program.result();
  json["recipe"] = to_json(training.recipe);
  json["data"] = {{"name", dataset.name}, {"train_digest", dataset.train.digest}, {"test_digest", dataset.test.digest}};
  json["left_out"] = training.left_out.size();
  json["checkpoint"] = {{"file", training.out.string()}, {"sha256", result.digest}};
  json["train_loss"] = result.training.loss;
  json["resumed"] = training.resume;  // loss and cost are those of this call
  if (test) json["splits"] = {{"test", to_json(*test)}};
  json["cost"] = cost_json(result.training.sample_passes, result.multiply_adds, result.training.seconds, eval_seconds);
}

}  // namespace nepenthe
