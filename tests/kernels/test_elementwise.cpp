#include "kernels/elementwise.h"

#include "harness.h"

namespace nepenthe::tests {
namespace {

TEST_CASE("elementwise: fill, add and mean") {
  MESSAGE(exec_with(1).description());
  for (const std::size_t count :
       {std::size_t{1}, std::size_t{15}, std::size_t{16}, std::size_t{1000}, std::size_t{100003}}) {
    const auto x = random_floats(count, 1), y = random_floats(count, 2);
    const Outputs out = deterministic([&](CpuExec& exec) {
      Outputs o{poisoned(count), y, {mean(exec, count, x.data())}};
      fill(exec, count, o[0].data(), 2.5f);
      add(exec, count, o[1].data(), x.data());
      return o;
    });
    double sum = 0;
    bool right = true;
    for (std::size_t i = 0; i < count; ++i) {
      right &= out[0][i] == 2.5f && out[1][i] == y[i] + x[i];
      sum += x[i];
    }
    CHECK(right);
    CHECK(out[2][0] == static_cast<float>(sum / static_cast<double>(count)));
  }
}

}  // namespace
}  // namespace nepenthe::tests
