// The two kinds of failure a person meets. Both carry one line that says what was wrong, where, and what would be
// right.
#pragma once

#include <stdexcept>

namespace nepenthe {

/// The request itself is wrong (an argument, a forget specification): programs end with exit code 2.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Anything else that stops a program (a damaged file, a full disk, a loss that is not finite): exit code 1.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace nepenthe
