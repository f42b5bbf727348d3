#include "kernels/cuda/check.h"

#include <algorithm>
#include <array>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>

#include <fmt/core.h>

namespace nepenthe::kernels {
namespace {

/// From the layer's folder on, wherever the sources were built.
std::string_view in_project(std::string_view file) {
  const std::size_t layer = file.rfind("kernels/");
  return layer == std::string_view::npos ? file : file.substr(layer);
}

[[noreturn]] void fail(std::string_view library, std::string text, const char* name, const char* expression,
                       const char* file, int line) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  throw std::runtime_error(
      fmt::format("[{}] {} ({}) in {} at {}:{}", library, text, name, expression, in_project(file), line));
}

}  // namespace

void check(cudaError_t status, const char* expression, const char* file, int line) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // or a later call would report this failure as its own
  if (status == cudaErrorMemoryAllocation) throw std::bad_alloc();
  fail("cuda", cudaGetErrorString(status), cudaGetErrorName(status), expression, file, line);
}

void check(cudnnStatus_t status, const char* expression, const char* file, int line) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  std::array<char, 1024> details{};
  cudnnGetLastErrorString(details.data(), details.size() - 1);
  cudaGetLastError();
  if (status == CUDNN_STATUS_ALLOC_FAILED || status == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED) {
    throw std::bad_alloc();
  }
  const std::string text = details[0] == 0 ? "call failed" : details.data();
  fail("cudnn", text, cudnnGetErrorString(status), expression, file, line);
}

void check(cublasStatus_t status, const char* expression, const char* file, int line) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  cudaGetLastError();
  if (status == CUBLAS_STATUS_ALLOC_FAILED) throw std::bad_alloc();
  fail("cublaslt", cublasLtGetStatusString(status), cublasLtGetStatusName(status), expression, file, line);
}

}  // namespace nepenthe::kernels
