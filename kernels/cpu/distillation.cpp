#include "kernels/distillation.h"

#include <cmath>

#include "kernels/cpu/logits.h"

namespace nepenthe::kernels {
namespace {

/// A row's softmax at a temperature, a class at a time. In double: where student and teacher agree, the gradient is
/// what is left of two numbers that are nearly alike.
class Softmax {
 public:
  Softmax(const float* z, int classes, float temperature)
      : z_(z), shift_(largest(z, classes)), temperature_(temperature) {
    for (int c = 0; c < classes; ++c) sum_ += power(c);
  }
  double operator()(int c) const { return power(c) / sum_; }

 private:
  double power(int c) const { return std::exp((z_[c] - shift_) / temperature_); }

  const float* z_;
  double shift_, temperature_, sum_ = 0;
};

}  // namespace

void distillation_backward(CpuExec& exec, const DistillationBackward& o) {
  check(o);
  const int classes = o.shape.classes;
  const bool adds = o.accumulate == Accumulate::add;
  const double factor = double{o.scale} * o.temperature;
  each_row(exec, o.shape.rows, [&](std::size_t row) {
    const Softmax student(o.student + row * classes, classes, o.temperature);
    const Softmax teacher(o.teacher + row * classes, classes, o.temperature);
    float* dz = o.dlogits + row * classes;
    for (int c = 0; c < classes; ++c) {
      const auto gradient = static_cast<float>(factor * (student(c) - teacher(c)));
      dz[c] = adds ? dz[c] + gradient : gradient;
    }
  });
}

}  // namespace nepenthe::kernels
