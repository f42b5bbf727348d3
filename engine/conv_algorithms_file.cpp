#include "engine/conv_algorithms_file.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/formats/json_fields.h"
#include "engine/formats/sealed_json.h"

namespace nepenthe {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const kernels::ConvAlgorithms& algorithms) {
  Json json = Json::object();
  for (const auto& [convolution, algorithm] : algorithms) {
    Json knobs = Json::object();
    for (const auto& [knob, value] : algorithm.knobs) knobs[std::to_string(knob)] = value;
    json[convolution] = {{"engine", algorithm.index}, {"knobs", knobs}};
  }
  return json;
}

/// The number that a knob goes by.
int knob_of(const std::string& text) {
  int knob = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), knob);
  if (error != std::errc() || end != text.data() + text.size() || knob < 0) {
    throw Error(fmt::format("a knob has the name \"{}\"; a whole number would be right", printable(text)));
  }
  return knob;
}

}  // namespace

kernels::ConvAlgorithms read_conv_algorithms(const std::filesystem::path& file) {
  const std::vector<std::byte> text = read_file(file);
  try {
    kernels::ConvAlgorithms algorithms;
    const Json json = parse_object(as_text(text));
    for (const auto& [key, value] : json.items()) {
      if (key != "device" && key != "convolutions" && key != "digest") {
        throw Error(fmt::format("an unknown member: {}", printable(key)));
      }
    }
    // Those of earlier versions have none.
    if (json.contains("digest") && !is_sealed(json)) throw Error("its contents do not fit their digest");
    constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min(),
                           most = std::numeric_limits<std::int64_t>::max();
    for (const auto& [convolution, entry] : member(json, "convolutions").items()) {
      kernels::ConvAlgorithm algorithm{.index = whole_number(entry, "engine", 0, most), .knobs = {}};
      const Json& knobs = member(entry, "knobs");
      for (const auto& [knob, value] : knobs.items())
        algorithm.knobs[knob_of(knob)] = whole_number(knobs, knob, least, most);
      algorithms[convolution] = algorithm;
    }
    return algorithms;
  } catch (const Error& error) {
    throw Error(fmt::format("{}: not a file of convolution algorithms: {}", file.string(), error.what()));
  }
}

void write_conv_algorithms(const std::filesystem::path& file, const kernels::ConvAlgorithms& algorithms,
                           const std::string& device) {
  Json json{{"device", device}, {"convolutions", to_json(algorithms)}};
  seal(json);
  write_file_atomically(file, json.dump(2) + "\n");
}

std::string digest(const kernels::ConvAlgorithms& algorithms) {
  if (algorithms.empty()) return "";
  const std::string text = to_json(algorithms).dump();
  return sha256_hex(std::as_bytes(std::span(text)));
}

}  // namespace nepenthe
