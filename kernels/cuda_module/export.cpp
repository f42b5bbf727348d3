// The module's side of the table.
#include "kernels/cuda_module/module.h"

const nepenthe::kernels::CudaModule* nepenthe_cuda_module() {
  using namespace nepenthe::kernels;
  static const CudaModule module{
      .stamp = NEPENTHE_MODULE_STAMP,
      .open = [](Precision precision) { return CudaExec(precision); },
#define NEPENTHE_OPERATION(name, Operands) .name = name,
#define NEPENTHE_TYPED_OPERATION(name, Operands) .name##_float = name, .name##_bf16 = name,
#define NEPENTHE_FUNCTION(entry, Result, name, parameters, arguments) .entry = name,
#include "kernels/cuda_module/operations.inc"
  };
  return &module;
}
