// What a network or a SISA run sees in pictures.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <utility>

#include "engine/formats/pictures.h"
#include "tools/common/contact_sheet.h"
#include "tools/common/options.h"
#include "tools/common/output.h"
#include "tools/common/progress.h"
#include "tools/common/sisa.h"
#include "tools/common/subject.h"
#include "unlearning/study/table.h"

using namespace nepenthe;

namespace {

constexpr int side = 32;  // of what networks see

struct Input {
  std::filesystem::path file;
  int width, height;
  Picture seen;      // by the network
  Picture on_sheet;  // by people
};

Input read_input(const std::filesystem::path& file) {
  const Picture whole = read_picture(file);
  return {file, whole.width, whole.height, centre_square(whole, side), centre_square(whole, sheet_picture_side)};
}

/// The pictures in the place of a data set's test part, so that they go the way that evaluation's go; their labels mean
/// nothing.
Dataset as_dataset(Dataset dataset, const std::vector<Input>& inputs) {
  dataset.train = {};
  dataset.test = {};
  dataset.test.labels.resize(inputs.size());
  for (const Input& input : inputs) {
    for (std::size_t channel = 0; channel < 3; ++channel) {
      for (std::size_t i = channel; i < input.seen.rgb.size(); i += 3) {
        dataset.test.pixels.push_back(input.seen.rgb[i]);
      }
    }
  }
  return dataset;
}

/// (pictures, classes), for a run the logarithm of the mean posterior.
std::vector<float> logits_of(Program& program, const Subject& subject, const Dataset& pictures) {
  ProgressBar bar(program.quiet());
  const Evaluator evaluator(program.device(), pictures, subject.preprocessing);
  const std::vector<EvaluationSet> sets = evaluation_sets({"test"}, pictures, {});
  if (subject.run) return score_run(*subject.run, evaluator, sets, bar).ensemble.at("test").log_posterior;
  return evaluator.predict(*subject.model, sets, subject.model->architecture().name(), bar).at("test").logits;
}

/// Softmax, which gives back the mean posterior of its logarithm.
std::vector<double> probabilities(std::span<const float> logits) {
  const double largest = *std::ranges::max_element(logits);
  std::vector<double> result;
  for (const float logit : logits) result.push_back(std::exp(static_cast<double>(logit) - largest));
  const double sum = std::accumulate(result.begin(), result.end(), 0.0);
  for (double& value : result) value /= sum;
  return result;
}

/// The `count` classes with the largest logits, ties to the lower class.
std::vector<std::size_t> likeliest(std::span<const float> logits, int count) {
  std::vector<std::size_t> classes(logits.size());
  std::iota(classes.begin(), classes.end(), std::size_t{0});
  std::ranges::stable_sort(classes, std::ranges::greater(), [&](std::size_t c) { return logits[c]; });
  classes.resize(std::min(classes.size(), static_cast<std::size_t>(count)));
  return classes;
}

/// Who answers: the sheet's title.
std::string title_of(const Subject& subject, const std::filesystem::path& run, const std::filesystem::path& weights) {
  if (!subject.run) {
    return fmt::format("{} - {}", subject.model->architecture().name(), weights.filename().string());
  }
  return fmt::format("{} - {}, {} shards, {} samples forgotten", run.string(), subject.run->config().model,
                     subject.run->live_shards().size(), grouped(static_cast<std::int64_t>(subject.forget.size())));
}

}  // namespace

int main(int argc, char** argv) {
  Program program("predict", "What a network or a SISA run sees in pictures");
  SubjectOptions options{.brings_pictures = true};
  std::vector<std::filesystem::path> files;
  std::filesystem::path out;
  int top = 5;
  CLI::App& app = program.app();
  add_subject_options(program, options);
  app.add_option("pictures", files, "PNG or JPEG files; the square in the middle is what counts")
      ->check(existing_file())
      ->type_name("PICTURE")
      ->default_str("")
      ->required();
  add_whole_number(app, "--top", top, 1, "Classes to show, the likeliest first");
  app.add_option("--out", out, "Write a sheet of the pictures with their classes here, as PNG")->type_name("FILE");

  return program.run(argc, argv, [&] {
    for (const auto& file : files) program.places().reads(file, "picture");
    program.places().writes(out, "--out");
    if (!out.empty()) refuse_existing(out, "--out");
    Subject subject = open_subject(program, options);
    std::vector<Input> inputs;
    inputs.reserve(files.size());
    for (const auto& file : files) inputs.push_back(read_input(file));
    const Dataset pictures = as_dataset(std::move(subject.dataset), inputs);
    const std::vector<float> logits = logits_of(program, subject, pictures);

    auto& json = program.result();
    if (subject.run) json["run"] = run_json(*subject.run);
    json["class_names"] = pictures.class_names;
    const Normalization& normalization = subject.preprocessing.normalization;
    json["normalization"] = {{"mean", normalization.mean}, {"std", normalization.std}};
    json["image_size"] = subject.preprocessing.image_size;
    auto& json_pictures = json["pictures"] = nlohmann::ordered_json::array();
    Table table({"picture", "class", "probability"});
    std::vector<SheetEntry> sheet;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const Input& input = inputs[i];
      const auto row = std::span(logits).subspan(i * pictures.class_names.size(), pictures.class_names.size());
      const std::vector<double> probability = probabilities(row);
      SheetEntry entry{.title = input.file.filename().string(), .picture = input.on_sheet, .guesses = {}};
      nlohmann::ordered_json json_top = nlohmann::ordered_json::array();
      if (i > 0) table.add_rule();
      for (const std::size_t c : likeliest(row, top)) {
        const std::string& name = pictures.class_names[c];
        table.add({entry.guesses.empty() ? input.file.string() : "", name, percent(probability[c])});
        entry.guesses.push_back({name, probability[c]});
        json_top.push_back({{"class", c}, {"name", name}, {"probability", probability[c]}});
      }
      json_pictures.push_back({{"file", input.file.string()},
                               {"width", input.width},
                               {"height", input.height},
                               {"top", json_top},
                               {"logits", row}});
      sheet.push_back(std::move(entry));
    }
    if (!out.empty()) write_png(out, contact_sheet(title_of(subject, options.run, options.weights), sheet));
    print("{}", table.text());
  });
}
