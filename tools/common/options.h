// Options with values that are checked as a whole: what is refused is said with what would be right.
#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <concepts>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace nepenthe {

/// Throws UsageError: "--batch 0: a whole number of at least 1 would be right".
[[noreturn]] void refuse_value(const std::string& option, std::string_view value, const std::string& right);

/// The number that `text` is, from `smallest` on. Throws UsageError, naming the option, for anything else.
template <std::integral T>
T whole_number(const std::string& option, std::string_view text, T smallest) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range && !text.starts_with('-')) {
    refuse_value(option, text, "at most " + std::to_string(std::numeric_limits<T>::max()));
  }
  if (error != std::errc() || end != text.data() + text.size() || value < smallest) {
    refuse_value(option, text, "a whole number of at least " + std::to_string(smallest));
  }
  return value;
}

/// The parts between commas. Throws UsageError, naming the option, where one is empty.
std::vector<std::string> parts_of_list(const std::string& option, const std::string& text);

/// An option of one whole number, from `smallest` on; its variable's value is the default.
template <std::integral T>
CLI::Option* add_whole_number(CLI::App& app, const std::string& option, T& value, T smallest,
                              const std::string& description) {
  return app
      .add_option_function<std::string>(
          option, [option, smallest, &value](const std::string& text) { value = whole_number(option, text, smallest); },
          description)
      ->default_str(std::to_string(value))
      ->type_name("N");
}

/// An option of whole numbers from 1 on, by commas.
CLI::Option* add_whole_numbers(CLI::App& app, const std::string& option, std::vector<int>& values,
                               const std::string& description);

/// The number that `text` is. Throws UsageError, naming the option, for anything else.
double number(const std::string& option, std::string_view text);

/// An option of one number; which are right, the one who uses it says.
CLI::Option* add_number(CLI::App& app, const std::string& option, double& value, const std::string& description);

/// An option of names, by commas.
CLI::Option* add_names(CLI::App& app, const std::string& option, std::vector<std::string>& values,
                       const std::string& description);

/// --model, an option of one architecture's name; the description ends with those that are known.
CLI::Option* add_model(CLI::App& app, std::string& model, const std::string& description = "");

/// Validators for Option::check: one of some words; a file that is there.
CLI::Validator one_of(const std::vector<std::string>& words);
CLI::Validator existing_file();

}  // namespace nepenthe
