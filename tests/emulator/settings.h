// What the environment says; see include/cuda_emulator_host.h. Read anew each time.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <string>
#include <string_view>

namespace cuda_emulator::settings {

inline std::string_view get(const char* name, std::string_view otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr || *value == 0 ? otherwise : value;
}

inline bool reverse_order() { return get("NEPENTHE_EMULATOR_ORDER", "natural") == "reverse"; }
inline std::size_t memory_bytes() { return std::stoull(std::string(get("NEPENTHE_EMULATOR_MEMORY_MB", "4096"))) << 20; }
inline int capability() { return std::stoi(std::string(get("NEPENTHE_EMULATOR_CAPABILITY", "90"))); }
inline std::string_view device() { return get("NEPENTHE_EMULATOR_DEVICE", ""); }
inline std::string graphs() { return std::string(get("NEPENTHE_EMULATOR_GRAPHS", "")); }

}  // namespace cuda_emulator::settings
