#include <fmt/core.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "kernels/cuda/check.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/conv_plans.h"
#include "kernels/cuda/matmul.h"

namespace nepenthe::kernels {
namespace {

constexpr int least_capability = 80;  // bf16 and TF32

[[noreturn]] void no_usable_gpu(const std::string& why) {
  throw std::runtime_error(fmt::format("no usable GPU: {}", why));
}

/// The first visible GPU, made current.
cudaDeviceProp open_gpu() {
  int gpus = 0;
  const cudaError_t status = cudaGetDeviceCount(&gpus);
  cudaGetLastError();
  if (status == cudaErrorInsufficientDriver) {
    int driver = 0;
    cudaDriverGetVersion(&driver);
    const std::string found =
        driver == 0 ? "none is loaded" : fmt::format("this one serves {}.{}", driver / 1000, driver % 1000 / 10);
    no_usable_gpu(fmt::format("an NVIDIA driver for CUDA {}.{} is needed, {}", CUDART_VERSION / 1000,
                              CUDART_VERSION % 1000 / 10, found));
  }
  if (status != cudaSuccess) {
    no_usable_gpu(fmt::format("CUDA says \"{}\" ({})", cudaGetErrorString(status), cudaGetErrorName(status)));
  }
  if (gpus == 0) no_usable_gpu("CUDA sees none");
  cudaDeviceProp gpu{};
  NEPENTHE_CHECK(cudaSetDevice(0));
  NEPENTHE_CHECK(cudaGetDeviceProperties(&gpu, 0));
  if (gpu.major * 10 + gpu.minor < least_capability) {
    no_usable_gpu(fmt::format("{} has compute capability {}.{}; {}.{} or later is needed", gpu.name, gpu.major,
                              gpu.minor, least_capability / 10, least_capability % 10));
  }
  return gpu;
}

/// Of version numbers like 91300 and 130002.
std::string three_part_version(std::size_t version) {
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

}  // namespace

CudaContext::CudaContext(Precision its_precision) : precision(its_precision) {
  const cudaDeviceProp gpu = open_gpu();
  device_name = gpu.name;
  compute_capability = gpu.major * 10 + gpu.minor;
  NEPENTHE_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  NEPENTHE_CHECK(cudaMalloc(reinterpret_cast<void**>(&ticket), sizeof(unsigned)));
  NEPENTHE_CHECK(cudaMemsetAsync(ticket, 0, sizeof(unsigned), stream));
  convolutions = std::make_unique<ConvPlans>(stream);
  products = std::make_unique<Matmuls>(stream, precision);
}

CudaContext::~CudaContext() {
  cudaStreamSynchronize(stream);
  convolutions.reset();
  products.reset();
  for (const Workspace& workspace : workspaces_) cudaFree(workspace.memory);
  cudaFree(ticket);
  cudaStreamDestroy(stream);
}

void* CudaContext::workspace(std::size_t bytes) {
  if (workspaces_.empty() || workspaces_.back().bytes < bytes) {
    // Twice the last one at least, so that those kept for captured steps add up to no more than the one in use.
    const std::size_t least = workspaces_.empty() ? std::size_t{1} << 20 : 2 * workspaces_.back().bytes;
    Workspace larger{.memory = nullptr, .bytes = std::max(bytes, least)};
    NEPENTHE_CHECK(cudaMalloc(&larger.memory, larger.bytes));
    workspaces_.push_back(larger);
  }
  return workspaces_.back().memory;
}

std::size_t CudaContext::workspace_bytes() const {
  std::size_t sum = 0;
  for (const Workspace& workspace : workspaces_) sum += workspace.bytes;
  return sum;
}

CudaExec::CudaExec(Precision precision)
    : precision_(precision),
      context_(new CudaContext(precision), [](CudaContext* context) { delete context; }),
      description_(fmt::format("CUDA ({}, sm_{}, cuDNN {}, cuBLASLt {})", context_->device_name,
                               context_->compute_capability, three_part_version(cudnnGetVersion()),
                               three_part_version(cublasLtGetVersion()))) {}

const ConvAlgorithms& conv_algorithms(const CudaExec& exec) { return exec.context().convolutions->algorithms(); }
void use_conv_algorithms(CudaExec& exec, const ConvAlgorithms& engines) { exec.context().convolutions->use(engines); }
bool measure_conv_algorithms(CudaExec& exec) {
  exec.context().convolutions->measure(true);
  return true;
}

}  // namespace nepenthe::kernels
