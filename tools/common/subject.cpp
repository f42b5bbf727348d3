#include "tools/common/subject.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "models/registry.h"
#include "models/weights.h"
#include "tools/common/options.h"
#include "tools/common/sisa.h"
#include "unlearning/forget_spec.h"
#include "unlearning/provenance/origin.h"

namespace nepenthe {
namespace {

/// In the place of data: as many classes as the weights have, by their numbers.
Dataset no_data(const SubjectOptions& options) {
  constexpr int guess = 10;
  const auto classes = classes_of_replaced_head(options.weights, *make_architecture(options.model, guess));
  Dataset none;
  none.classes = classes && *classes > 0 ? static_cast<int>(*classes) : guess;
  for (int c = 0; c < none.classes; ++c) none.class_names.push_back(std::to_string(c));
  none.normalization = none.classes == 10 ? cifar10_normalization : cifar100_normalization;
  return none;
}

}  // namespace

void add_subject_options(Program& program, SubjectOptions& options) {
  CLI::App& app = program.app();
  app.add_option("--run", options.run, "A SISA run's folder")->type_name("RUN");
  add_model(app, options.model, "One network: ");
  app.add_option("--weights", options.weights, "Its weights: .safetensors, .pt or .pth")
      ->check(existing_file())
      ->type_name("FILE");
  app.add_option("--data", options.data, "Folder of CIFAR binary files; a run knows its own")->type_name("DIR");
  add_picture_options(app, options.pictures);
  if (options.brings_pictures) return;
  app.add_option("--forget", options.forget, "The forget set; a run knows what it has forgotten")->type_name("SPEC");
}

Subject open_subject(Program& program, const SubjectOptions& options) {
  const bool one_network = !options.model.empty() || !options.weights.empty();
  if (one_network == !options.run.empty()) {
    throw UsageError("one of --run RUN, and --model NAME with --weights FILE, is needed");
  }
  Places& places = program.places();
  places.reads_folder(options.run, "--run", SisaRun::file_names);
  places.reads(options.weights, "--weights");
  places.reads_folder(options.data, "--data", dataset_file_names);
  places.reads_specification(options.forget, "--forget");
  Subject subject;
  std::uint64_t seed = program.seed();
  if (one_network) {
    const bool needs_data = !options.brings_pictures;
    if (options.model.empty() || options.weights.empty() || (needs_data && options.data.empty())) {
      throw UsageError(needs_data ? "--model NAME, --weights FILE and --data DIR are needed together"
                                  : "--model NAME and --weights FILE are needed together");
    }
    make_architecture(options.model, 10);  // an unknown name is told before the data is read
    subject.dataset = options.data.empty() ? no_data(options) : read_dataset(options.data);
    subject.model =
        std::make_unique<ModelState>(program.device(), make_architecture(options.model, subject.dataset.classes));
    load_weights(options.weights, *subject.model);
    const nlohmann::ordered_json weights = describe_weights(options.weights);
    require_class_names(weights, subject.dataset);
    tell_of_weights(program, weights);
    const TransferSettings transfer = transfer_settings(options.pictures, weights, subject.model->architecture());
    check(transfer, {.augment = false});
    subject.preprocessing = preprocessing(transfer, subject.dataset);
    program.result()["transfer"] = to_json(transfer);
    if (options.data.empty()) {
      const bool guessed = transfer.normalization == NormalizationKind::own;
      const char* likely = subject.dataset.classes == 10 ? "CIFAR-10" : "CIFAR-100";
      program.say(fmt::format("note: without --data classes are numbers{}",
                              guessed ? fmt::format(", and pictures are normalised as those of {}", likely) : ""));
    }
  } else {
    if (options.pictures.image_size || options.pictures.normalization) {
      throw UsageError("--image-size and --normalization go with --model; a run knows its own");
    }
    subject.run = open_run(options.run);
    require_finished(*subject.run);
    subject.dataset = read_run_data(program, *subject.run, options.data);
    open_device(program, *subject.run);
    subject.preprocessing = preprocessing(subject.run->config().transfer, subject.dataset);
    seed = subject.run->config().seed;
    subject.forget = subject.run->forgotten();
  }
  if (!options.forget.empty()) {
    const std::vector<std::int32_t> permutation = make_permutation(subject.dataset.train.count(), seed);
    subject.forget = resolve_forget_spec(options.forget, forget_context(subject.dataset, permutation, seed));
  }
  return subject;
}

}  // namespace nepenthe
