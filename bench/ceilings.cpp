#include "bench/ceilings.h"

#include <algorithm>
#include <memory>

#include "kernels/cuda/check.h"
#include "kernels/cuda/context.h"
#include "kernels/elementwise.h"

namespace nepenthe::bench {
namespace {

struct Destroy {
  void operator()(cublasLtHandle_t handle) const { cublasLtDestroy(handle); }
  void operator()(cublasLtMatmulDesc_t descriptor) const { cublasLtMatmulDescDestroy(descriptor); }
  void operator()(cublasLtMatrixLayout_t layout) const { cublasLtMatrixLayoutDestroy(layout); }
  void operator()(cublasLtMatmulPreference_t preference) const { cublasLtMatmulPreferenceDestroy(preference); }
};
template <class Opaque>
using Owned = std::unique_ptr<Opaque, Destroy>;

/// Operations a second of c = aᵀ·b, `side` square, with cuBLASLt's first suggestion.
std::optional<double> product(KernelBench& bench, int side, cudaDataType_t type, std::size_t element_bytes,
                              cublasComputeType_t compute) {
  constexpr std::size_t workspace_bytes = std::size_t{32} << 20;
  cublasLtHandle_t handle = nullptr;
  NEPENTHE_CHECK(cublasLtCreate(&handle));
  const Owned<cublasLtContext> owned_handle(handle);
  cublasLtMatmulDesc_t operation = nullptr;
  NEPENTHE_CHECK(cublasLtMatmulDescCreate(&operation, compute, CUDA_R_32F));
  const Owned<cublasLtMatmulDescOpaque_t> owned_operation(operation);
  const int transpose = CUBLAS_OP_T;
  NEPENTHE_CHECK(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &transpose, sizeof(transpose)));
  cublasLtMatrixLayout_t layout = nullptr;
  const auto extent = static_cast<std::uint64_t>(side);
  const cublasStatus_t status = cublasLtMatrixLayoutCreate(&layout, type, extent, extent, side);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) return std::nullopt;
  NEPENTHE_CHECK(status);
  const Owned<cublasLtMatrixLayoutOpaque_t> owned_layout(layout);
  cublasLtMatmulPreference_t preference = nullptr;
  NEPENTHE_CHECK(cublasLtMatmulPreferenceCreate(&preference));
  const Owned<cublasLtMatmulPreferenceOpaque_t> owned_preference(preference);
  NEPENTHE_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                      &workspace_bytes, sizeof(workspace_bytes)));
  cublasLtMatmulHeuristicResult_t best{};
  int found = 0;
  const cublasStatus_t suggested =
      cublasLtMatmulAlgoGetHeuristic(handle, operation, layout, layout, layout, layout, preference, 1, &best, &found);
  if (suggested == CUBLAS_STATUS_NOT_SUPPORTED || (suggested == CUBLAS_STATUS_SUCCESS && found == 0)) {
    return std::nullopt;
  }
  NEPENTHE_CHECK(suggested);

  const std::size_t matrix_bytes = extent * extent * element_bytes;
  Operands operands(bench.memory(3 * (matrix_bytes + 512)), nullptr);
  const std::byte *a = operands.take<std::byte>(matrix_bytes), *b = operands.take<std::byte>(matrix_bytes);
  std::byte* c = operands.take<std::byte>(matrix_bytes);
  void* workspace = bench.exec().context().workspace(workspace_bytes);
  const float one = 1, zero = 0;
  constexpr int calls = 5;
  const double us = bench.microseconds_eager(
      [&] {
        for (int i = 0; i < calls; ++i) {
          NEPENTHE_CHECK(cublasLtMatmul(handle, operation, &one, a, layout, b, layout, &zero, c, layout, c, layout,
                                        &best.algo, workspace, workspace_bytes, bench.exec().context().stream));
        }
      },
      calls);
  return 2.0 * side * side * side / (us * 1e-6);
}

}  // namespace

double Ceilings::bytes_per_second() const { return std::max(copy_bytes_per_second, add_bytes_per_second); }

std::optional<double> Ceilings::flops(Products products) const {
  switch (products) {
    case Products::none: break;
    case Products::fp32: return fp32_flops;
    case Products::tf32: return tf32_flops;
    case Products::bf16: return bf16_flops;
  }
  return std::nullopt;
}

Ceilings measure_ceilings(KernelBench& bench, int megabytes, int side) {
  kernels::CudaExec& exec = bench.exec();
  Ceilings result;
  constexpr int calls = 4;
  const auto repeated = [&](int times, const auto& issue) {
    return [times, &issue] {
      for (int i = 0; i < times; ++i) issue();
    };
  };

  const std::size_t bytes = std::size_t(megabytes) << 20, count = bytes / sizeof(float);
  Operands operands(bench.memory(2 * bytes), nullptr);
  float *to = operands.take<float>(count), *from = operands.take<float>(count);
  const auto copy = [&] {
    NEPENTHE_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, exec.context().stream));
  };
  const auto add = [&] { kernels::add(exec, count, to, from); };
  const auto smallest = [&] { kernels::add(exec, 1, to, from); };
  const double size = static_cast<double>(bytes);
  result.copy_bytes_per_second = 2 * size / (1e-6 * bench.microseconds_eager(repeated(calls, copy), calls));
  result.add_bytes_per_second = 3 * size / (1e-6 * bench.microseconds_eager(repeated(calls, add), calls));
  constexpr int launches = 1000;
  result.launch_eager_us = bench.microseconds_eager(repeated(launches, smallest), launches);
  result.launch_graph_us = bench.microseconds(repeated(launches, smallest), launches);

  result.bf16_flops = product(bench, side, CUDA_R_16BF, 2, CUBLAS_COMPUTE_32F);
  result.tf32_flops = product(bench, side, CUDA_R_32F, 4, CUBLAS_COMPUTE_32F_FAST_TF32);
  result.fp32_flops = product(bench, side, CUDA_R_32F, 4, CUBLAS_COMPUTE_32F);
  return result;
}

}  // namespace nepenthe::bench
