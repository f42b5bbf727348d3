#include "tools/common/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/conv_algorithms_file.h"
#include "engine/formats/text_lines.h"
#include "kernels/revision.h"
#include "tools/common/options.h"
#include "tools/common/output.h"
#include "tools/common/progress.h"
#include "tools/common/version.h"

namespace nepenthe {
namespace {

/// One line without control characters, whatever a message holds.
std::string in_one_line(const std::string& text) {
  std::string line;
  for (const char c : text) {
    if (c == '\n' || c == '\r' || c == '\t') {
      line += ' ';
    } else if (const auto code = static_cast<unsigned char>(c); code < 0x20 || code == 0x7F) {
      line += fmt::format("\\x{:02x}", code);
    } else {
      line += c;
    }
  }
  while (line.ends_with(' ')) line.pop_back();
  return line;
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
  tell(fmt::format("error: {}\n", in_one_line(message)));
  return exit_code;
}

/// Results name files, in JSON, which is UTF-8.
void require_utf8(int argc, char** argv) {
  constexpr const char* right = "is not UTF-8; a name in UTF-8 (as renaming or a link gives it) would be right";
  for (int i = 1; i < argc; ++i) {
    if (!is_utf8(argv[i])) throw UsageError(fmt::format("the argument \"{}\" {}", printable(argv[i]), right));
  }
  std::error_code unknown;
  const std::string folder = std::filesystem::current_path(unknown).string();
  if (!is_utf8(folder)) throw UsageError(fmt::format("the current folder \"{}\" {}", printable(folder), right));
}

/// What the library that parses found wrong, in our words.
std::string explain(const CLI::App& app, const CLI::ParseError& error) {
  // Before an option that is missing: it may be the one that was mistyped.
  if (const std::vector<std::string> unknown = app.remaining(); !unknown.empty()) {
    const bool option = unknown.front().starts_with('-');
    return fmt::format("{}: {}", unknown.front(), option ? "there is no such option" : "an argument too many");
  }
  std::string message = error.what();
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    return message.substr(0, message.find(':')) + " needs one value, and is given once";
  }
  if (dynamic_cast<const CLI::ConversionError*>(&error) != nullptr) {  // of flags alone, as "…: --quiet = 5"
    const std::size_t begin = message.find("--");
    if (begin != std::string::npos) return message.substr(begin, message.find(' ', begin) - begin) + " takes no value";
  }
  return message;
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
  add_whole_number(app_, "--seed", seed_, std::uint64_t{0}, "Seed of everything random");
  app_.add_option("--json", json_file_, "Write the result to this file as JSON")->type_name("FILE");
  app_.add_flag("--quiet", quiet_, "No progress and no messages but errors");
  add_device_options();
}

Program::~Program() = default;

void Program::add_device_options() {
  app_.add_option("--device", device_settings_.kind, "auto, cpu or cuda")
      ->check(one_of({"auto", "cpu", "cuda"}))
      ->type_name("KIND");
  app_.add_option("--precision", precision_, "fp32, tf32 or bf16")
      ->check(one_of({"fp32", "tf32", "bf16"}))
      ->type_name("P");
  add_whole_number(app_, "--threads", device_settings_.threads, 0, "Threads of the CPU backend; 0: all");
  app_.add_option("--conv-algorithms", conv_algorithms_file_, "CUDA: cuDNN's engines to use, from tune_convolutions")
      ->type_name("FILE");
  app_.add_flag("--eager", device_settings_.eager, "CUDA: issue every kernel, no captured steps; the same bits");
}

bool Program::parse(int argc, char** argv) {
  for (CLI::Option* option : app_.get_options()) {
    if (option->get_items_expected() == 0) continue;
    // Before the checks that it has already.
    option->transform(CLI::Validator(
        [](const std::string& value) { return value.empty() ? "its value is empty" : std::string(); }, ""));
  }
  require_utf8(argc, argv);
  try {
    app_.parse(argc, argv);
    return true;
  } catch (const CLI::Success& done) {
    std::ostringstream text;
    app_.exit(done, text, text);
    print("{}", text.str());
    return false;
  } catch (const CLI::ParseError& error) {
    throw UsageError(fmt::format("{}; {} --help lists the options", explain(app_, error), name_));
  }
}

int Program::run(int argc, char** argv, const std::function<void()>& body) {
  prepare_output();
  try {
    if (parse(argc, argv)) {
      stop_on_signals();
      places_.writes(json_file_, "--json");
      places_.reads(conv_algorithms_file_, "--conv-algorithms");
      auto& result = *result_;
      result["program"] = name_;
      result["version"] = version;
      result["configuration"] = configuration(app_);
      result["seed"] = seed_;
      result["device"] = nullptr;  // until one is opened
      result["precision"] = precision_;
      body();
      write_result();
    }
  } catch (const UsageError& error) {
    return fail(2, with_option(app_, error.what()));
  } catch (const std::bad_alloc&) {
    const CLI::Option* parallel = app_.get_option_no_throw("--parallel-shards");
    return fail(1, parallel != nullptr && parallel->count() > 0
                       ? "out of memory; fewer --parallel-shards or a smaller --batch need less"
                       : "out of memory; a smaller --batch needs less");
  } catch (const std::filesystem::filesystem_error& error) {
    return fail(1, fmt::format("{}: {}", error.path1().string(), error.code().message()));
  } catch (const std::runtime_error& error) {
    return fail(1, with_option(app_, error.what()));
  } catch (const std::exception& error) {
    return fail(1, fmt::format("a fault of this program, not of what it was given: {}", error.what()));
  }
  if (const auto failure = output_failure()) {
    // A reader that has seen enough (| head) is no news to anyone.
    return *failure == EPIPE ? 1
                             : fail(1, fmt::format("standard output cannot be written: {}", std::strerror(*failure)));
  }
  return 0;
}

void Program::prefer_isa(std::optional<kernels::Isa> isa) { preferred_isa_ = isa; }

Device& Program::device() {
  if (!device_) {
    device_settings_.precision = precision_ == "fp32"   ? Precision::fp32
                                 : precision_ == "tf32" ? Precision::tf32
                                                        : Precision::bf16;
    if (preferred_isa_ && kernels::has(*preferred_isa_, device_settings_.precision) && !kernels::isa_asked_for()) {
      device_settings_.isa = preferred_isa_;
    }
    if (!conv_algorithms_file_.empty()) device_settings_.conv_algorithms = read_conv_algorithms(conv_algorithms_file_);
    device_ = std::make_unique<Device>(device_settings_);
    if (!device_->reason().empty()) {
      say(fmt::format("device: {}; {}", device_->description(), device_->reason()));
    }
    (*result_)["device"] = device_->description();
    (*result_)["kernels"] = device_->isa() ? kernels::cpu_revision : "";
    (*result_)["compiler"] = __VERSION__;
  }
  return *device_;
}

void Program::say(const std::string& line) const {
  if (!quiet_) tell(line + "\n");
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
  add_whole_number(app, "--batch", recipe.batch, 1, "Samples a step");
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
      ->check(one_of({"sgd", "adam"}))
      ->default_str(name(recipe.optimizer))
      ->type_name("KIND");
  add_number(app, "--lr", recipe.lr, "Learning rate at the start");
  add_number(app, "--momentum", recipe.momentum, "Of SGD");
  app.add_flag("--nesterov,!--no-nesterov", recipe.nesterov, "Nesterov's momentum in SGD")
      ->default_str(recipe.nesterov ? "true" : "false");
  add_number(app, "--dampening", recipe.dampening, "Of SGD's momentum");
  add_number(app, "--weight-decay", recipe.weight_decay, "L2, inside the gradient, on all parameters");
  app.add_option_function<std::string>(
         "--schedule", [&recipe](const std::string& text) { recipe.schedule = schedules.at(text); },
         "Of the learning rate: constant or cosine (to 0)")
      ->check(one_of({"constant", "cosine"}))
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

}  // namespace nepenthe
