// Stands before the toolkit's <cuda_runtime.h> where .cu files are compiled as C++ for the emulator: the toolkit's own
// types and declarations of its host functions, and what only nvcc knows besides.
#pragma once

#if defined(__CUDACC__)
#error "the emulator's headers are not for nvcc"
#endif

#include <cuda_runtime_api.h>
#include <vector_functions.h>

// Outside nvcc the toolkit defines __global__, __device__ and __host__ as nothing. It does the same for __shared__,
// which would make an array of the block an array of each thread.
#undef __shared__
#define __shared__ static_assert(false, "the emulator knows shared memory by CUDA_EMULATOR_SHARED alone");
#define __launch_bounds__(...)

#include <cuda_emulator_device.h>
