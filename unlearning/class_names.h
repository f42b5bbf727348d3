// Finding a class by its name or number, and helping a person who mistyped it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace nepenthe {

/// The class that `text` names: an exact name first, else its number from 0. Throws UsageError for neither; the line
/// says what a class may be, with near matches where there are some, else with the names there are. `kind` is "class"
/// or "coarse class".
std::int32_t find_class(std::string_view text, std::span<const std::string> names, std::string_view kind);

}  // namespace nepenthe
