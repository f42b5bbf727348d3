// The backends by name, for declarations of what runs on them.
#pragma once

namespace nepenthe::kernels {

class CpuExec;   // kernels/cpu_exec.h
class CudaExec;  // kernels/cuda_exec.h

}  // namespace nepenthe::kernels
