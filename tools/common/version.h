#pragma once

namespace nepenthe {

inline constexpr const char* version = NEPENTHE_VERSION;

}  // namespace nepenthe
