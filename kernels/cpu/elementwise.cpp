#include "kernels/elementwise.h"

#include "kernels/cpu/chunks.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu_exec.h"

namespace nepenthe::kernels {
namespace {

template <int W>
NEPENTHE_INLINE void cast_range(std::size_t count, bf16* y, const float* x) {
  each<W>(
      count, [&](auto width, std::size_t i, auto)
                 __attribute__((always_inline)) { store<width>(y + i, load<width>(x + i)); });
}

}  // namespace

void cast(CpuExec& exec, std::size_t count, bf16* y, const float* x) {
  const Chunks parts = parts_of_array(count);
  exec.parallel(parts.parts(), [&](int part, int) {
    const Range range = parts[part];
    on_isa<cast_range<16>, cast_range<8>, cast_range<4>>(exec.isa(), range.end - range.begin, y + range.begin,
                                                         x + range.begin);
  });
}

}  // namespace nepenthe::kernels
