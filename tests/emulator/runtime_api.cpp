// The CUDA runtime's functions for the device, memory and errors, under their real names: never link to the real
// runtime.

#include <cuda_emulator_host.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "device_memory.h"
#include "settings.h"
#include "stream.h"

namespace cuda_emulator {
namespace {

thread_local cudaError_t last_error = cudaSuccess;

cudaError_t device_status(int device = 0) {
  if (settings::device() == "none") return cudaErrorNoDevice;
  if (settings::device() == "old_driver") return cudaErrorInsufficientDriver;
  return device == 0 ? cudaSuccess : cudaErrorInvalidDevice;
}

struct ErrorText {
  cudaError_t status;
  const char* name;
  const char* text;
};

constexpr ErrorText error_texts[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorIllegalState, "cudaErrorIllegalState", "the operation cannot be performed in the present state"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent",
     "operation not permitted on an event last recorded in a capturing stream"},
    {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
};

const ErrorText& error_text(cudaError_t status) {
  static constexpr ErrorText other{cudaErrorUnknown, "unrecognized error code", "unrecognized error code"};
  for (const ErrorText& known : error_texts) {
    if (known.status == status) return known;
  }
  return other;
}

bool on_device(const void* memory) { return find_device_memory(memory) != nullptr; }

/// Whether [memory, memory + bytes) lies in one allocation.
bool in_allocation(const void* memory, std::size_t bytes) {
  const Allocation* allocation = find_device_memory(memory);
  return allocation != nullptr && static_cast<const char*>(memory) + bytes <= allocation->begin + allocation->bytes;
}

bool copy_fits(const void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice ||
                         (kind == cudaMemcpyDefault && on_device(to));
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice ||
                           (kind == cudaMemcpyDefault && on_device(from));
  return (to_device ? in_allocation(to, bytes) : !on_device(to)) &&
         (from_device ? in_allocation(from, bytes) : !on_device(from));
}

cudaError_t copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (!copy_fits(to, from, bytes, kind)) return cudaErrorInvalidValue;
  return submit(stream, [=] {
    if (!copy_fits(to, from, bytes, kind)) throw Error("[cuda_emulator] a copy's device memory is gone");
    std::memmove(to, from, bytes);
  });
}

cudaError_t set(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (!in_allocation(to, bytes)) return cudaErrorInvalidValue;
  return submit(stream, [=] {
    if (!in_allocation(to, bytes)) throw Error("[cuda_emulator] a memset's device memory is gone");
    std::memset(to, value, bytes);
  });
}

}  // namespace

cudaError_t report(cudaError_t status) {
  if (status != cudaSuccess) last_error = status;
  return status;
}

}  // namespace cuda_emulator

using namespace cuda_emulator;

extern "C" {

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return last_error; }
const char* cudaGetErrorName(cudaError_t status) { return error_text(status).name; }
const char* cudaGetErrorString(cudaError_t status) { return error_text(status).text; }

cudaError_t cudaDriverGetVersion(int* version) {
  *version = settings::device() == "old_driver" ? 11040 : CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = device_status() == cudaSuccess ? 1 : 0;
  return report(device_status());
}

cudaError_t cudaSetDevice(int device) { return report(device_status(device)); }

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return report(device_status());
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (const cudaError_t status = device_status(device); status != cudaSuccess) return report(status);
  *properties = {};
  std::snprintf(properties->name, sizeof(properties->name), "CUDA emulator");
  properties->major = settings::capability() / 10;
  properties->minor = settings::capability() % 10;
  properties->totalGlobalMem = settings::memory_bytes();
  properties->multiProcessorCount = 4;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->maxThreadsDim[0] = properties->maxThreadsDim[1] = 1024;
  properties->maxThreadsDim[2] = 64;
  properties->maxGridSize[0] = 0x7fffffff;
  properties->maxGridSize[1] = properties->maxGridSize[2] = 65535;
  properties->sharedMemPerBlock = 48 * 1024;
  properties->l2CacheSize = 1 << 20;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  if (const cudaError_t status = cudaGetDeviceProperties(&properties, device); status != cudaSuccess) return status;
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor: *value = properties.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = properties.minor; break;
    case cudaDevAttrMultiProcessorCount: *value = properties.multiProcessorCount; break;
    case cudaDevAttrMaxThreadsPerBlock: *value = properties.maxThreadsPerBlock; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = properties.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = static_cast<int>(properties.sharedMemPerBlock); break;
    case cudaDevAttrL2CacheSize: *value = properties.l2CacheSize; break;
    case cudaDevAttrWarpSize: *value = properties.warpSize; break;
    default: return report(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  *memory = nullptr;
  if (device_status() != cudaSuccess) return report(device_status());
  if (settings::device() == "broken") return report(cudaErrorUnknown);
  if (const cudaError_t status = allocation_in_capture(); status != cudaSuccess) return report(status);
  if (bytes == 0) return cudaSuccess;
  *memory = allocate_device_memory(bytes);
  return *memory == nullptr ? report(cudaErrorMemoryAllocation) : cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  if (const cudaError_t status = allocation_in_capture(); status != cudaSuccess) return report(status);
  return memory == nullptr || free_device_memory(memory) ? cudaSuccess : report(cudaErrorInvalidValue);
}

cudaError_t cudaMallocHost(void** memory, size_t bytes) {
  *memory = nullptr;
  if (device_status() != cudaSuccess) return report(device_status());
  if (const cudaError_t status = outside_capture(); status != cudaSuccess) return report(status);
  if (bytes == 0) return cudaSuccess;
  return posix_memalign(memory, 256, bytes) == 0 ? cudaSuccess : report(cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void* memory) {
  if (const cudaError_t status = outside_capture(); status != cudaSuccess) return report(status);
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  if (device_status() != cudaSuccess) return report(device_status());
  *total = settings::memory_bytes();
  *free = *total - std::min(*total, device_memory_in_use());
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (const cudaError_t status = outside_capture(); status != cudaSuccess) return report(status);
  return report(copy(to, from, bytes, kind, nullptr));
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  return report(copy(to, from, bytes, kind, stream));
}

cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  if (const cudaError_t status = outside_capture(); status != cudaSuccess) return report(status);
  return report(set(to, value, bytes, nullptr));
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  return report(set(to, value, bytes, stream));
}

}  // extern "C"
