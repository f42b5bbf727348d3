// Distillation: a student's logits drawn to, or with a negative scale pushed from, a teacher's (Hinton, Vinyals & Dean
// 2015, arXiv:1503.02531; for unlearning Kurmanji et al. 2023, SCRUB, arXiv:2302.09880).
#pragma once

#include "kernels/exec_fwd.h"
#include "kernels/shapes.h"

namespace nepenthe::kernels {

/// The gradient with respect to the student's logits of scale·T²·Σ KL(softmax(teacher/T) ‖ softmax(student/T)) over the
/// rows: dlogits = scale·T·(softmax(student/T) − softmax(teacher/T)), T the temperature. Throws std::invalid_argument
/// for shapes without elements and temperatures that are not above 0.
struct DistillationBackward {
  LogitsShape shape;
  float* dlogits;  // (rows, classes)
  Accumulate accumulate;
  const float* student;  // logits (rows, classes)
  const float* teacher;  // logits (rows, classes)
  float temperature;
  float scale;  // weight/rows for a mean over the rows
};
void distillation_backward(CpuExec& exec, const DistillationBackward& operands);
void distillation_backward(CudaExec& exec, const DistillationBackward& operands);

/// What both backends refuse.
void check(const DistillationBackward& operands);

}  // namespace nepenthe::kernels
