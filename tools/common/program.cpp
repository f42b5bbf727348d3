#include "tools/common/program.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/conv_algorithms_file.h"
#include "kernels/libraries.h"
#include "tools/common/progress.h"
#include "tools/common/version.h"

namespace nepenthe {
namespace {

/// One line, whatever a message holds.
std::string in_one_line(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return text;
}

/// "batch 0: at least 1" with the option that says so, "--batch 0: …": the layers below know fields, not options.
std::string with_option(const CLI::App& app, const std::string& message) {
  const std::size_t name_end = message.find(' ');
  const std::size_t value_end = name_end == std::string::npos ? name_end : message.find(' ', name_end + 1);
  if (value_end == std::string::npos || message[value_end - 1] != ':') return message;
  const std::string option = option_of(message.substr(0, name_end));
  return app.get_option_no_throw(option) == nullptr ? message : option + message.substr(name_end);
}

int fail(int exit_code, const std::string& message) {
  fmt::print(stderr, "error: {}\n", in_one_line(message));
  return exit_code;
}

/// A number or truth value where the text is one; null for none.
nlohmann::ordered_json typed(const std::string& text) {
  if (text.empty()) return nullptr;
  auto value = nlohmann::ordered_json::parse(text, nullptr, false);
  return value.is_number() || value.is_boolean() ? value : nlohmann::ordered_json(text);
}

/// The options as given or by default, by name without dashes.
nlohmann::ordered_json configuration(const CLI::App& app) {
  nlohmann::ordered_json options = nlohmann::ordered_json::object();
  for (const CLI::Option* option : app.get_options()) {
    const std::string option_name = option->get_single_name();
    if (option_name == "help" || option_name == "version" || option_name == "json" || option_name == "quiet") continue;
    options[option_name] =
        typed(option->count() == 0 ? option->get_default_str() : CLI::detail::join(option->results(), ","));
  }
  return options;
}

}  // namespace

Program::Program(std::string name, const std::string& description)
    : name_(std::move(name)),
      app_(description, name_),
      result_(std::make_unique<nlohmann::ordered_json>(nlohmann::ordered_json::object())) {
  app_.set_version_flag("--version", fmt::format("{} (Nepenthe {})", name_, version));
  app_.get_formatter()->column_width(34);
  app_.option_defaults()->always_capture_default();
  app_.add_option("--seed", seed_, "Seed of everything random")->check(CLI::NonNegativeNumber)->type_name("N");
  app_.add_option("--json", json_file_, "Write the result to this file as JSON")->type_name("FILE");
  app_.add_flag("--quiet", quiet_, "No progress and no messages but errors");
  add_device_options();
}

Program::~Program() = default;

void Program::add_device_options() {
  app_.add_option("--device", device_settings_.kind, "auto, cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->type_name("KIND");
  app_.add_option("--precision", precision_, "fp32, tf32 or bf16")
      ->check(CLI::IsMember({"fp32", "tf32", "bf16"}))
      ->type_name("P");
  app_.add_option("--threads", device_settings_.threads, "Threads of the CPU backend; 0: all")->type_name("N");
  app_.add_option("--conv-algorithms", conv_algorithms_file_, "CUDA: cuDNN's engines to use, from tune_convolutions")
      ->type_name("FILE");
  app_.add_flag("--eager", device_settings_.eager, "CUDA: issue every kernel, no captured steps; the same bits");
}

int Program::run(int argc, char** argv, const std::function<void()>& body) {
  try {
    app_.parse(argc, argv);
  } catch (const CLI::Success& done) {
    return app_.exit(done);
  } catch (const CLI::ParseError& error) {
    return fail(2, fmt::format("{}; {} --help lists the options", error.what(), name_));
  }
  stop_on_signals();
  try {
    if (!json_file_.empty()) require_writable_place(json_file_, "--json");
    auto& result = *result_;
    result["program"] = name_;
    result["version"] = version;
    result["configuration"] = configuration(app_);
    result["seed"] = seed_;
    result["device"] = nullptr;  // until one is opened
    result["precision"] = precision_;
    body();
    write_result();
    return 0;
  } catch (const UsageError& error) {
    return fail(2, with_option(app_, error.what()));
  } catch (const std::bad_alloc&) {
    return fail(1, "out of memory; a smaller --batch needs less");
  } catch (const std::exception& error) {
    return fail(1, with_option(app_, error.what()));
  }
}

void Program::prefer_isa(std::optional<kernels::Isa> isa) {
  if (isa && kernels::has(*isa) && !kernels::isa_asked_for()) device_settings_.isa = isa;
}

Device& Program::device() {
  if (!device_) {
    device_settings_.precision = precision_ == "fp32"   ? Precision::fp32
                                 : precision_ == "tf32" ? Precision::tf32
                                                        : Precision::bf16;
    if (!conv_algorithms_file_.empty()) device_settings_.conv_algorithms = read_conv_algorithms(conv_algorithms_file_);
    device_ = std::make_unique<Device>(device_settings_);
    if (!device_->reason().empty()) {
      say(fmt::format("device: {}; {}", device_->description(), device_->reason()));
    }
    (*result_)["device"] = device_->description();
    (*result_)["libraries"] = {{"oneDNN", kernels::onednn_version()}, {"compiler", __VERSION__}};
  }
  return *device_;
}

void Program::say(const std::string& line) const {
  if (!quiet_) fmt::print(stderr, "{}\n", line);
}

nlohmann::ordered_json& Program::result() { return *result_; }

void Program::write_result() {
  if (!json_file_.empty()) write_file_atomically(json_file_, result_->dump(2) + "\n");
}

void add_recipe_options(CLI::App& app, Recipe& recipe) {
  static const std::map<std::string, OptimizerKind> optimizers{{"sgd", OptimizerKind::sgd},
                                                               {"adam", OptimizerKind::adam}};
  static const std::map<std::string, Schedule> schedules{{"constant", Schedule::constant},
                                                         {"cosine", Schedule::cosine}};
  app.add_option("--batch", recipe.batch, "Samples a step");
  // Options take effect in the order they are added: --lr and --weight-decay, where given, after this one.
  const auto take_optimizer = [&recipe](const std::string& text) {
    recipe.optimizer = optimizers.at(text);
    if (recipe.optimizer == OptimizerKind::adam) {
      recipe.lr = 1e-3;
      recipe.weight_decay = 0;
    }
  };
  app.add_option_function<std::string>("--optimizer", take_optimizer,
                                       "sgd; or adam: learning rate 0.001, no weight decay")
      ->check(CLI::IsMember({"sgd", "adam"}))
      ->default_str(name(recipe.optimizer))
      ->type_name("KIND");
  app.add_option("--lr", recipe.lr, "Learning rate at the start");
  app.add_option("--momentum", recipe.momentum, "Of SGD");
  app.add_flag("--nesterov,!--no-nesterov", recipe.nesterov, "Nesterov's momentum in SGD")
      ->default_str(recipe.nesterov ? "true" : "false");
  app.add_option("--dampening", recipe.dampening, "Of SGD's momentum");
  app.add_option("--weight-decay", recipe.weight_decay, "L2, inside the gradient, on all parameters");
  app.add_option_function<std::string>(
         "--schedule", [&recipe](const std::string& text) { recipe.schedule = schedules.at(text); },
         "Of the learning rate: constant or cosine (to 0)")
      ->check(CLI::IsMember({"constant", "cosine"}))
      ->default_str(name(recipe.schedule))
      ->type_name("KIND");
  app.add_flag("--augment,!--no-augment", recipe.augment, "Random crops and flips")
      ->default_str(recipe.augment ? "true" : "false");
}

std::string option_of(std::string field) {
  std::ranges::replace(field, '_', '-');
  return "--" + field;
}

std::optional<Recipe> recipe_given(const CLI::App& app, const Recipe& given, const Recipe& base) {
  const auto says = [&app](const std::string& field) {
    const CLI::Option* option = app.get_option_no_throw(option_of(field));
    return option != nullptr && option->count() > 0;
  };
  const auto all = to_json(given);
  auto result = to_json(base);
  bool any = false;
  for (const auto& [field, value] : all.items()) {
    // An optimiser brings its own learning rate and weight decay.
    const bool by_optimizer = (field == "lr" || field == "weight_decay") && says("optimizer");
    if (!says(field) && !by_optimizer) continue;
    result[field] = value;
    any = true;
  }
  return any ? std::optional(recipe_from_json(result)) : std::nullopt;
}

void refuse_existing(const std::filesystem::path& path, const std::string& option) {
  if (std::filesystem::exists(path)) {
    throw UsageError(fmt::format("{} {}: exists already; another name, or removing it first, would be right", option,
                                 path.string()));
  }
}

void require_writable_place(const std::filesystem::path& path, const std::string& option) {
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  if (!std::filesystem::is_directory(folder)) {
    throw UsageError(fmt::format("{} {}: there is no folder {}", option, path.string(), folder.string()));
  }
  if (::access(folder.c_str(), W_OK) != 0) {
    throw UsageError(fmt::format("{} {}: the folder {} may not be written", option, path.string(), folder.string()));
  }
  if (std::filesystem::is_directory(path)) {
    throw UsageError(fmt::format("{} {}: is a folder; the name of a file is needed", option, path.string()));
  }
}

}  // namespace nepenthe
