#include "kernels/elementwise.h"

#include "kernels/cpu/isa.h"
#include "kernels/cpu/partition.h"

namespace nepenthe::kernels {
namespace {

template <int W>
NEPENTHE_INLINE void fill_range(std::size_t count, float* x, float value) {
  each<W>(
      count, [&](auto width, std::size_t i, auto)
                 __attribute__((always_inline)) { store<width>(x + i, broadcast<width>(value)); });
}

}  // namespace

void fill(CpuExec& exec, std::size_t count, float* x, float value) {
  const Partition parts = parts_of_array(count);
  exec.parallel(parts.parts(), [&](int part, int) {
    const Range range = parts[part];
    on_isa<fill_range<16>, fill_range<8>>(exec.isa(), range.end - range.begin, x + range.begin, value);
  });
}

void add(CpuExec& exec, std::size_t count, float* y, const float* x) {
  const Partition parts = parts_of_array(count);
  exec.parallel(parts.parts(), [&](int part, int) {
    const Range range = parts[part];
    on_isa<add_to<16>, add_to<8>>(exec.isa(), range.end - range.begin, y + range.begin, x + range.begin);
  });
}

float mean(CpuExec&, std::size_t count, const float* x) {
  double sum = 0;
  for (std::size_t i = 0; i < count; ++i) sum += x[i];
  return static_cast<float>(sum / static_cast<double>(count));
}

}  // namespace nepenthe::kernels
