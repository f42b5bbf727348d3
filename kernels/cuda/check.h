// Checked calls of the CUDA runtime and its libraries: NEPENTHE_CHECK(cudaMalloc(…)) throws std::runtime_error that
// names what failed, the expression, file and line; running out of device memory is std::bad_alloc.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>

namespace nepenthe::kernels {

void check(cudaError_t status, const char* expression, const char* file, int line);
void check(cudnnStatus_t status, const char* expression, const char* file, int line);
void check(cublasStatus_t status, const char* expression, const char* file, int line);

#define NEPENTHE_CHECK(expression) ::nepenthe::kernels::check((expression), #expression, __FILE__, __LINE__)

}  // namespace nepenthe::kernels
