// Functions that compile for the host and, under nvcc, for the device too.
#pragma once

#if defined(__CUDACC__)
#define NEPENTHE_HOST_DEVICE __host__ __device__
#else
#define NEPENTHE_HOST_DEVICE
#endif
