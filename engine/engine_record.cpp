#include "engine/engine_record.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <span>

#include "engine/error.h"
#include "engine/file.h"

namespace nepenthe {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const kernels::ConvEngines& engines) {
  Json json = Json::object();
  for (const auto& [convolution, engine] : engines) {
    Json knobs = Json::object();
    for (const auto& [knob, value] : engine.knobs) knobs[std::to_string(knob)] = value;
    json[convolution] = {{"engine", engine.index}, {"knobs", knobs}};
  }
  return json;
}

}  // namespace

kernels::ConvEngines read_engines(const std::filesystem::path& file) {
  const std::vector<std::byte> text = read_file(file);
  try {
    kernels::ConvEngines engines;
    const Json json = Json::parse(as_text(text));
    for (const auto& [convolution, entry] : json.at("engines").items()) {
      kernels::ConvEngine engine{.index = entry.at("engine").get<std::int64_t>(), .knobs = {}};
      for (const auto& [knob, value] : entry.at("knobs").items()) {
        engine.knobs[std::stoi(knob)] = value.get<std::int64_t>();
      }
      engines[convolution] = engine;
    }
    return engines;
  } catch (const std::exception& error) {  // of JSON, or of a knob that is no number
    throw Error(fmt::format("{}: not a record of engines: {}; tune_engines writes one", file.string(), error.what()));
  }
}

void write_engines(const std::filesystem::path& file, const kernels::ConvEngines& engines, const std::string& device) {
  write_file_atomically(file, Json{{"device", device}, {"engines", to_json(engines)}}.dump(2) + "\n");
}

std::string digest(const kernels::ConvEngines& engines) {
  if (engines.empty()) return "";
  const std::string text = to_json(engines).dump();
  return sha256_hex(std::as_bytes(std::span(text)));
}

}  // namespace nepenthe
