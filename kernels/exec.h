// Where kernels run. Every kernel takes the backend's Exec first and is overloaded for each backend; engine code holds
// an Exec and visits it once a kernel. Both backends are in every build; whether CUDA's can be opened is seen at run
// time.
#pragma once

#include <variant>

#include "kernels/cpu_exec.h"
#include "kernels/cuda_exec.h"

namespace nepenthe::kernels {

using Exec = std::variant<CpuExec, CudaExec>;

}  // namespace nepenthe::kernels
