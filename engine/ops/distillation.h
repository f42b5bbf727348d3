#pragma once

#include "engine/tape.h"

namespace nepenthe::ops {

/// Asks of logits (N, 1, 1, classes) to be those of a frozen `teacher` (likewise). An end of the network, beside others
/// on the same logits: its backward starts from the gradient `weight` of T²/N · Σ KL(softmax(teacher/T) ‖
/// softmax(logits/T)), T the temperature (Hinton et al. 2015). Nothing happens without a tape.
void distillation(Pass& pass, const Variable& logits, const Tensor& teacher, double temperature, double weight);

}  // namespace nepenthe::ops
