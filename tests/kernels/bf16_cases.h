// fp32 numbers, by their bits, with the bf16 numbers to which they round: to nearest, ties to even.
#pragma once

#include <cstdint>

namespace nepenthe::tests {

struct Bf16Case {
  std::uint32_t from;
  std::uint16_t to;
};

constexpr Bf16Case bf16_cases[] = {
    {0x00000000, 0x0000}, {0x80000000, 0x8000},                        // zeros keep their sign
    {0x3f800000, 0x3f80}, {0xc2280000, 0xc228},                        // 1 and −42 are there
    {0x3f808000, 0x3f80}, {0x3f818000, 0x3f82}, {0xbf818000, 0xbf82},  // ties
    {0x3f807fff, 0x3f80}, {0x3f808001, 0x3f81}, {0x3f817fff, 0x3f81},  // a rounding error beside them
    {0x3fffffff, 0x4000}, {0xbfff8000, 0xc000},                        // into the next exponent
    {0x7f800000, 0x7f80}, {0xff800000, 0xff80},                        // infinities
    {0x7f7f7fff, 0x7f7f}, {0x7f7f8000, 0x7f80}, {0xff7fffff, 0xff80},  // the largest, and beyond
    {0x00000001, 0x0000}, {0x00008000, 0x0000}, {0x00008001, 0x0001},  // subnormals
    {0x80018000, 0x8002}, {0x007f7fff, 0x007f}, {0x007fffff, 0x0080},
};

/// NaNs, whose payload may be lost.
constexpr std::uint32_t nan_cases[] = {0x7fc00000, 0xffc00000, 0x7f800001, 0xff800001, 0x7fffffff, 0x7f80ffff};

}  // namespace nepenthe::tests
