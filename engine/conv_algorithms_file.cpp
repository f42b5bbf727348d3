#include "engine/conv_algorithms_file.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <span>

#include "engine/base/error.h"
#include "engine/base/file.h"
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

}  // namespace

kernels::ConvAlgorithms read_conv_algorithms(const std::filesystem::path& file) {
  const std::vector<std::byte> text = read_file(file);
  try {
    kernels::ConvAlgorithms algorithms;
    const Json json = Json::parse(as_text(text));
    for (const auto& [key, value] : json.items()) {
      if (key != "device" && key != "convolutions" && key != "digest") throw Error("an unknown member: " + key);
    }
    // Those of earlier versions have none.
    if (json.contains("digest") && !is_sealed(json)) throw Error("its contents do not fit their digest");
    for (const auto& [convolution, entry] : json.at("convolutions").items()) {
      kernels::ConvAlgorithm algorithm{.index = entry.at("engine").get<std::int64_t>(), .knobs = {}};
      for (const auto& [knob, value] : entry.at("knobs").items()) {
        algorithm.knobs[std::stoi(knob)] = value.get<std::int64_t>();
      }
      algorithms[convolution] = algorithm;
    }
    return algorithms;
  } catch (const std::exception& error) {  // of JSON, or of a knob that is no number
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
