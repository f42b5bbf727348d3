// The CUDA backend as programs have it: a module that they load when a GPU is asked for, so that they start without
// CUDA's libraries. The module hands over one table of functions; a program's own functions on a CudaExec call through
// it.
#pragma once

#include <memory>
#include <utility>

#include "kernels/batch_norm.h"
#include "kernels/bf16.h"
#include "kernels/capture.h"
#include "kernels/conv2d.h"
#include "kernels/conv_algorithms.h"
#include "kernels/cuda_exec.h"
#include "kernels/distillation.h"
#include "kernels/elementwise.h"
#include "kernels/gather.h"
#include "kernels/linear.h"
#include "kernels/memory.h"
#include "kernels/optimizers.h"
#include "kernels/pool.h"
#include "kernels/profile.h"
#include "kernels/softmax_cross_entropy.h"
#include "kernels/step_control.h"

namespace nepenthe::kernels {

struct CudaModule {
  const char* stamp;  // NEPENTHE_MODULE_STAMP of the module's build: what follows is understood only where it is ours
  CudaExec (*open)(Precision precision);
// NOLINTBEGIN(bugprone-macro-parentheses): types and lists of parameters bear none
#define NEPENTHE_OPERATION(name, Operands) void (*name)(CudaExec&, const Operands&);
#define NEPENTHE_TYPED_OPERATION(name, Operands)           \
  void (*name##_float)(CudaExec&, const Operands<float>&); \
  void (*name##_bf16)(CudaExec&, const Operands<bf16>&);
#define NEPENTHE_FUNCTION(entry, Result, name, parameters, arguments) Result(*entry) parameters;
// NOLINTEND(bugprone-macro-parentheses)
#include "kernels/cuda_module/operations.inc"
};

}  // namespace nepenthe::kernels

/// The module's only symbol.
extern "C" __attribute__((visibility("default"))) const nepenthe::kernels::CudaModule* nepenthe_cuda_module();
