// Zip archives made by hand, well formed or not.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace nepenthe::tests {

// Not by operator+: g++ 12 warns of it wrongly (its bug 105651).
template <class... Parts>
std::string cat(const Parts&... parts) {
  std::string all;
  ((all += parts), ...);
  return all;
}

template <class T>
std::string little(T value) {
  std::string text(sizeof(T), '\0');
  std::memcpy(text.data(), &value, sizeof(T));
  return text;
}

struct Member {
  std::string name, data;
  std::uint32_t claimed = 0;  // size to claim instead of the true one
  std::uint16_t method = 0, flags = 0;
};

/// A zip archive, stored unless a member says otherwise (its data are then taken as compressed already).
inline std::string zip(const std::vector<Member>& members) {
  std::string file, directory;
  for (const Member& member : members) {
    const auto packed = static_cast<std::uint32_t>(member.data.size());
    const std::uint32_t size = member.claimed != 0 ? member.claimed : packed;
    const auto crc = static_cast<std::uint32_t>(
        crc32(0, reinterpret_cast<const Bytef*>(member.data.data()), static_cast<uInt>(member.data.size())));
    const std::string common = cat(little<std::uint16_t>(20), little(member.flags), little(member.method),
                                   little<std::uint32_t>(0), little(crc), little(packed), little(size),
                                   little(static_cast<std::uint16_t>(member.name.size())), little<std::uint16_t>(0));
    directory += cat("PK\x01\x02", little<std::uint16_t>(20), common, std::string(10, '\0'),
                     little(static_cast<std::uint32_t>(file.size())), member.name);
    file += cat("PK\x03\x04", common, member.name, member.data);
  }
  const auto count = static_cast<std::uint16_t>(members.size());
  return cat(file, directory, "PK\x05\x06", std::string(4, '\0'), little(count), little(count),
             little(static_cast<std::uint32_t>(directory.size())), little(static_cast<std::uint32_t>(file.size())),
             std::string(2, '\0'));
}

}  // namespace nepenthe::tests
