#include "kernels/step_control.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace nepenthe::kernels {
namespace {

double sum_of(const float* losses, int rows) { return std::accumulate(losses, losses + rows, 0.0); }

void add_to_totals(StepControl& control, int rows, double loss_sum, const std::int32_t* ranks) {
  control.loss_sum += loss_sum;
  control.seen += rows;
  control.right += std::count(ranks, ranks + rows, 0);
}

}  // namespace

void tally_batch(CpuExec&, StepControl* control, int rows, const float* losses, const std::int32_t* ranks) {
  control->offset += static_cast<std::uint32_t>(rows);
  ++control->steps;
  if (control->diverged_at != 0) return;
  const double loss_sum = sum_of(losses, rows);
  if (std::isfinite(loss_sum)) {
    add_to_totals(*control, rows, loss_sum, ranks);
  } else {
    control->diverged_at = control->steps;
    control->diverged_loss = loss_sum / rows;
  }
}

void store_predictions(CpuExec&, StepControl* control, const LogitsShape& shape, const PredictionArrays& all,
                       const float* logits, const float* losses, const std::int32_t* ranks) {
  const std::size_t first = control->offset, classes = static_cast<std::size_t>(shape.classes);
  std::copy_n(logits, shape.rows * classes, all.logits + first * classes);
  std::copy_n(losses, shape.rows, all.losses + first);
  std::copy_n(ranks, shape.rows, all.ranks + first);
  add_to_totals(*control, shape.rows, sum_of(losses, shape.rows), ranks);
  control->offset += static_cast<std::uint32_t>(shape.rows);
}

}  // namespace nepenthe::kernels
