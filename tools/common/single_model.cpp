#include "tools/common/single_model.h"

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/base/file.h"
#include "engine/formats/torch_checkpoint.h"
#include "kernels/revision.h"
#include "models/registry.h"
#include "models/weights.h"
#include "tools/common/options.h"
#include "tools/common/output.h"
#include "tools/common/progress.h"
#include "tools/common/start_weights.h"
#include "unlearning/evaluation.h"
#include "unlearning/forget_spec.h"
#include "unlearning/permutation.h"
#include "unlearning/provenance/origin.h"
#include "unlearning/study/record.h"
#include "unlearning/study/table.h"

namespace nepenthe {

void add_single_model_options(Program& program, SingleModelOptions& options) {
  CLI::App& app = program.app();
  app.add_option("--data", options.data, "Folder of CIFAR-100 or CIFAR-10 binary files")->type_name("DIR")->required();
  add_model(app, options.training.model);
  add_whole_number(app, "--epochs", options.training.recipe.epochs, 1, "Passes over the data");
  add_training_options(app, options.transfer, options.training.recipe);
  app.add_option("--out", options.training.out, "The checkpoint to write: .safetensors, .pt or .pth")
      ->type_name("FILE")
      ->required();
  app.add_flag("--resume", options.training.resume, "Continue an interrupted training");
}

void run_single_model(Program& program, SingleModelOptions& options) {
  SingleModelTraining& training = options.training;
  Places& places = program.places();
  places.reads_folder(options.data, "--data", dataset_file_names);
  places.reads(training.weights, "--weights");
  places.reads_specification(options.left_out, "specification");
  places.writes(training.out, "--out");
  places.writes(training.out.string() + ".state", "--out's state");
  places.writes(journal_of(training.out), "--out's journal");
  (void)weights_format(training.out);
  for (const auto& path : clear_up_after(training.out)) {
    program.say(fmt::format("note: {}: left by a killed program, and removed", path.string()));
  }
  if (!training.resume) refuse_existing(training.out, "--out");
  training.seed = program.seed();
  const InterruptedTraining before = training.resume ? interrupted_training(training.out) : InterruptedTraining{};
  program.prefer_isa(before.isa);
  Device& device = program.device();
  if (!before.device.empty() && before.device != device.description()) {
    program.say(fmt::format("note: the training was begun on {}, this is {}: results may differ in the last bits",
                            before.device, device.description()));
  }
  if (device.isa() && !before.revision.empty() && before.revision != kernels::cpu_revision) {
    program.say(fmt::format("note: the training was begun with {}, these are {}: results may differ in the last bits",
                            before.revision, kernels::cpu_revision));
  }
  make_architecture(training.model, 10);  // an unknown name is told before the data is read
  const Dataset dataset = read_dataset(options.data);
  const std::vector<std::int32_t> permutation = make_permutation(dataset.train.count(), training.seed);
  const auto architecture = make_architecture(training.model, dataset.classes);
  nlohmann::ordered_json weights;
  if (!training.weights.empty()) {
    weights = describe_weights(training.weights);
    program.say(fmt::format("weights: {}", weights_in_words(weights)));
  }
  training.transfer = transfer_settings(options.transfer, weights, *architecture);
  if (options.keeps_head) {
    refuse_new_head(training.weights, *architecture);
  } else {
    tell_of_new_head(program, training.weights, *architecture);
    if (!training.weights.empty()) use_transfer_rates(program.app(), training.recipe);
  }
  if (!options.left_out.empty()) {
    training.left_out = resolve_forget_spec(options.left_out, forget_context(dataset, permutation, training.seed));
    training.left_out_by = options.left_out;
  }
  program.say(fmt::format("{}: {} of {} training samples, {} classes, {}, {} epochs", dataset.name,
                          grouped(dataset.train.count() - static_cast<int>(training.left_out.size())),
                          grouped(dataset.train.count()), dataset.classes, training.model, training.recipe.epochs));

  ProgressBar bar(program.quiet());
  SingleModelResult result;
  try {
    result = train_single_model(training, dataset, device, bar);
  } catch (const Interrupted& interrupted) {
    // Features of a frozen backbone come before there is a state.
    const bool has_state = is_there(training.out.string() + ".state");
    throw Interrupted(fmt::format("{}; the same command {}", interrupted.what(),
                                  has_state ? "with --resume continues" : "begins anew"));
  } catch (const UsageError& error) {
    throw UsageError(fmt::format("{}{}", training.resume ? "--resume: " : "", error.what()));
  }

  if (result.was_complete) program.say(fmt::format("note: {}: the training is complete", training.out.string()));

  std::optional<Metrics> test;
  double eval_seconds = 0;
  try {
    ModelState model(device, architecture);
    load_weights(training.out, model);
    const Evaluator evaluator(device, dataset, preprocessing(training.transfer, dataset));
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
  if (!result.was_complete) {
    print("last epoch's training loss {:.4f}; {} sample passes in {}\n", result.training.loss,
          grouped(result.training.sample_passes), duration(result.training.seconds));
  }
  print("{}  SHA-256 {}\n", training.out.string(), result.digest);

  auto& json = program.result();
  json["recipe"] = to_json(training.recipe);
  json["transfer"] = to_json(training.transfer);
  json["data"] = {{"name", dataset.name}, {"train_digest", dataset.train.digest}, {"test_digest", dataset.test.digest}};
  json["left_out"] = training.left_out.size();
  json["checkpoint"] = {{"file", training.out.string()}, {"sha256", result.digest}};
  json["origin"] = result.origin;
  json["train_loss"] = result.was_complete ? nlohmann::ordered_json() : nlohmann::ordered_json(result.training.loss);
  json["resumed"] = training.resume;  // loss and cost are those of this call
  if (test) json["splits"] = {{"test", to_json(*test)}};
  json["cost"] = to_json(StudyCost{.sample_passes = result.training.sample_passes,
                                   .multiply_adds = result.multiply_adds,
                                   .train_seconds = result.training.seconds,
                                   .eval_seconds = eval_seconds});
}

}  // namespace nepenthe
