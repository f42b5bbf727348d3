#include "engine/formats/sealed_json.h"

#include <nlohmann/json.hpp>
#include <string>

#include "engine/base/file.h"

namespace nepenthe {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* member = "digest";

std::string digest(const Json& object, std::string_view before) {
  return sha256_hex(std::string(before) + object.dump());
}

}  // namespace

void seal(Json& object, std::string_view before) {
  object = Json::parse(object.dump(-1, ' ', false, Json::error_handler_t::replace));
  object[member] = digest(object, before);
}

bool is_sealed(const Json& object, std::string_view before) {
  if (!object.is_object() || !object.contains(member)) return false;
  Json others = object;
  others.erase(member);
  return object.at(member) == digest(others, before);
}

}  // namespace nepenthe
