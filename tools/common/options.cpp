#include "tools/common/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "engine/base/error.h"
#include "models/registry.h"

namespace nepenthe {

void refuse_value(const std::string& option, std::string_view value, const std::string& right) {
  throw UsageError(fmt::format("{} {}: {} would be right", option, value, right));
}

std::vector<std::string> parts_of_list(const std::string& option, const std::string& text) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  while (true) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    if (end == begin) refuse_value(option, text, "something before, between and behind all commas");
    parts.push_back(text.substr(begin, end - begin));
    if (end == text.size()) return parts;
    begin = end + 1;
  }
}

CLI::Option* add_whole_numbers(CLI::App& app, const std::string& option, std::vector<int>& values,
                               const std::string& description) {
  const auto take = [option, &values](const std::string& text) {
    values.clear();
    for (const std::string& part : parts_of_list(option, text)) values.push_back(whole_number(option, part, 1));
  };
  return app.add_option_function<std::string>(option, take, description)
      ->default_str(fmt::format("{}", fmt::join(values, ",")))
      ->type_name("N,N,...");
}

double number(const std::string& option, std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) refuse_value(option, text, "a number such as 0.01");
  return value;
}

CLI::Option* add_number(CLI::App& app, const std::string& option, double& value, const std::string& description) {
  const auto take = [option, &value](const std::string& text) { value = number(option, text); };
  return app.add_option_function<std::string>(option, take, description)
      ->default_str(fmt::format("{}", value))
      ->type_name("X");
}

CLI::Option* add_names(CLI::App& app, const std::string& option, std::vector<std::string>& values,
                       const std::string& description) {
  return app
      .add_option_function<std::string>(
          option, [option, &values](const std::string& text) { values = parts_of_list(option, text); }, description)
      ->default_str(fmt::format("{}", fmt::join(values, ",")))
      ->type_name("NAME,...");
}

CLI::Option* add_model(CLI::App& app, std::string& model, const std::string& description) {
  return app.add_option("--model", model, fmt::format("{}{}", description, fmt::join(model_names(), ", ")))
      ->type_name("NAME");
}

CLI::Validator one_of(const std::vector<std::string>& words) {
  const auto check = [words](const std::string& value) {
    return std::ranges::find(words, value) != words.end()
               ? std::string()
               : fmt::format("there is no {}; {} would be right", value, fmt::join(words, ", "));
  };
  return {check, ""};
}

CLI::Validator existing_file() {
  const auto check = [](const std::string& path) {
    std::error_code unknown;
    const auto status = std::filesystem::status(path, unknown);
    if (!std::filesystem::exists(status)) return fmt::format("there is no file {}", path);
    return std::filesystem::is_regular_file(status) ? std::string() : fmt::format("{} is no file", path);
  };
  return {check, ""};
}

}  // namespace nepenthe
