// Walking over rows of logits, a row at a time.
#pragma once

#include <algorithm>
#include <cstddef>

#include "kernels/cpu/chunks.h"
#include "kernels/cpu_exec.h"

namespace nepenthe::kernels {

/// Calls body(row) for every row, on the team.
template <class Body>
void each_row(CpuExec& exec, int rows, Body&& body) {
  constexpr std::size_t rows_in_part = 16;
  const Chunks parts{static_cast<std::size_t>(rows), rows_in_part};
  exec.parallel(parts.parts(), [&](int part, int) {
    const Range range = parts[part];
    for (std::size_t row = range.begin; row < range.end; ++row) body(row);
  });
}

inline float largest(const float* z, int classes) { return *std::max_element(z, z + classes); }

}  // namespace nepenthe::kernels
