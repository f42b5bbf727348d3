// What every program has in common: options, exit codes, messages, interruption, the JSON result.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/device.h"
#include "engine/recipe.h"
#include "tools/common/places.h"

namespace nepenthe {

/// The frame of a program: a main builds one, adds its options to app(), and returns run(…).
class Program {
 public:
  Program(std::string name, const std::string& description);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  CLI::App& app() { return app_; }

  /// Parses the arguments and runs the body. Exit codes: 0 done; 2 wrong arguments (parsing, UsageError); 1 anything
  /// else, also results that standard output did not take; failures end in one line "error: …" on standard error, but
  /// for a reader of standard output that went away.
  int run(int argc, char** argv, const std::function<void()>& body);

  /// Has device() compute with this instruction set where the processor has it, unless $NEPENTHE_ISA asks for one; call
  /// it before device().
  void prefer_isa(std::optional<kernels::Isa> isa);

  /// Opens the device and says on standard error which one `auto` took.
  Device& device();

  std::uint64_t seed() const { return seed_; }
  bool quiet() const { return quiet_; }

  /// Prints a line for people on standard error, unless --quiet.
  void say(const std::string& line) const;

  /// Tell it of every file and folder that the command line names, before anything begins.
  Places& places() { return places_; }

  /// The machine-readable result, an object that already holds program, version, configuration (every option), seed,
  /// device and precision; add to it. Written to --json FILE when the body returns.
  nlohmann::ordered_json& result();

 private:
  void add_device_options();
  bool parse(int argc, char** argv);  // whether there is anything to run
  void write_result();

  std::string name_;
  CLI::App app_;
  DeviceSettings device_settings_;
  std::optional<kernels::Isa> preferred_isa_;
  std::string precision_ = "fp32";
  std::uint64_t seed_ = 1;
  std::string json_file_, conv_algorithms_file_;
  bool quiet_ = false;
  Places places_{[this](const std::string& line) { say(line); }};
  std::unique_ptr<Device> device_;
  std::unique_ptr<nlohmann::ordered_json> result_;
};

/// --batch --optimizer --lr --momentum --nesterov --dampening --weight-decay --schedule --augment, with `recipe`'s
/// values as defaults; fills `recipe`.
void add_recipe_options(CLI::App& app, Recipe& recipe);

/// "--weight-decay" for "weight_decay", a recipe's field.
std::string option_of(std::string field);

/// `base` with what the command line says of a recipe (into `given`, by add_recipe_options); empty where it says
/// nothing.
std::optional<Recipe> recipe_given(const CLI::App& app, const Recipe& given, const Recipe& base);

}  // namespace nepenthe
