#include "engine/formats/json_fields.h"

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/file.h"

namespace nepenthe {
namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void refuse(std::string_view name, const Json& value, std::string_view right) {
  const std::string found = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  throw Error(fmt::format("\"{}\" is {}; {} would be right", printable(name), printable(found), right));
}

bool lies_within(const Json& value, std::int64_t least, std::int64_t most) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned() &&
      value.get<std::uint64_t>() > std::uint64_t(std::numeric_limits<std::int64_t>::max())) {
    return false;
  }
  const auto number = value.get<std::int64_t>();
  return number >= least && number <= most;
}

}  // namespace

Json parse_object(std::string_view text) {
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) throw Error("is not JSON");
  if (!json.is_object()) throw Error(fmt::format("is a JSON {}; an object would be right", json.type_name()));
  return json;
}

const Json& member(const Json& object, std::string_view name) {
  if (!object.is_object())
    throw Error(fmt::format("has no \"{}\", being a JSON {}", printable(name), object.type_name()));
  const auto found = object.find(std::string(name));
  if (found == object.end()) throw Error(fmt::format("has no \"{}\"", printable(name)));
  return *found;
}

std::int64_t whole_number(const Json& object, std::string_view name, std::int64_t least, std::int64_t most) {
  const Json& value = member(object, name);
  if (!lies_within(value, least, most)) refuse(name, value, fmt::format("a whole number from {} to {}", least, most));
  return value.get<std::int64_t>();
}

std::vector<std::int64_t> whole_numbers(const Json& object, std::string_view name, std::int64_t least,
                                        std::int64_t most) {
  const Json& values = member(object, name);
  if (!values.is_array()) refuse(name, values, "a list of whole numbers");
  std::vector<std::int64_t> numbers;
  for (const Json& value : values) {
    if (!lies_within(value, least, most)) {
      throw Error(fmt::format("\"{}\" holds {}; whole numbers from {} to {} would be right", printable(name),
                              printable(value.dump(-1, ' ', true, Json::error_handler_t::replace)), least, most));
    }
    numbers.push_back(value.get<std::int64_t>());
  }
  return numbers;
}

std::uint64_t seed_number(const Json& object, std::string_view name) {
  const Json& value = member(object, name);
  if (!value.is_number_unsigned()) refuse(name, value, "a whole number from 0 on, of 64 bits");
  return value.get<std::uint64_t>();
}

double number(const Json& object, std::string_view name) {
  const Json& value = member(object, name);
  if (!value.is_number()) refuse(name, value, "a number");
  return value.get<double>();
}

bool truth(const Json& object, std::string_view name) {
  const Json& value = member(object, name);
  if (!value.is_boolean()) refuse(name, value, "true or false");
  return value.get<bool>();
}

std::string text(const Json& object, std::string_view name) {
  const Json& value = member(object, name);
  if (!value.is_string()) refuse(name, value, "a text");
  return value.get<std::string>();
}

}  // namespace nepenthe
