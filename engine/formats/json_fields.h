// Reading JSON that is distrusted: nothing is converted, nothing wraps around, and an error says in our words what was
// found and what would be right. All throw Error, without the file, which the caller knows.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nepenthe {

/// An object out of a file's text.
nlohmann::ordered_json parse_object(std::string_view text);

/// The member of an object.
const nlohmann::ordered_json& member(const nlohmann::ordered_json& object, std::string_view name);

/// The member as a number, a text, a truth value, a list; whole numbers lie in [least, most].
std::int64_t whole_number(const nlohmann::ordered_json& object, std::string_view name, std::int64_t least,
                          std::int64_t most);
std::vector<std::int64_t> whole_numbers(const nlohmann::ordered_json& object, std::string_view name, std::int64_t least,
                                        std::int64_t most);
std::uint64_t seed_number(const nlohmann::ordered_json& object, std::string_view name);  // any of 64 bits
double number(const nlohmann::ordered_json& object, std::string_view name);
bool truth(const nlohmann::ordered_json& object, std::string_view name);
std::string text(const nlohmann::ordered_json& object, std::string_view name);

}  // namespace nepenthe
