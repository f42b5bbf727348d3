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

void tally_batch(CpuExec&, const TallyBatch& o) {
  StepControl& control = *o.control;
  control.offset += o.rows;
  ++control.steps;
  if (control.diverged_at != 0) return;
  const double loss_sum = sum_of(o.losses, o.rows);
  if (std::isfinite(loss_sum)) {
    add_to_totals(control, o.rows, loss_sum, o.ranks);
  } else {
    control.diverged_at = control.steps;
    control.diverged_loss = loss_sum / o.rows;
  }
}

void store_predictions(CpuExec&, const StorePredictions& o) {
  check("store_predictions", o.shape);
  const auto first = static_cast<std::size_t>(o.control->offset), classes = static_cast<std::size_t>(o.shape.classes);
  std::copy_n(o.logits, o.shape.rows * classes, o.all.logits + first * classes);
  std::copy_n(o.losses, o.shape.rows, o.all.losses + first);
  std::copy_n(o.ranks, o.shape.rows, o.all.ranks + first);
  add_to_totals(*o.control, o.shape.rows, sum_of(o.losses, o.shape.rows), o.ranks);
  o.control->offset += o.shape.rows;
}

}  // namespace nepenthe::kernels
