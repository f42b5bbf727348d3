#include "kernels/cuda/matmul.h"

#include <cstdint>
#include <stdexcept>
#include <utility>

#include <fmt/core.h>

#include "kernels/cuda/check.h"
#include "kernels/cuda/context.h"

namespace nepenthe::kernels {
namespace {

constexpr std::uint32_t alignment = 16;  // bytes, of all operands
constexpr std::uint64_t most_workspace = std::uint64_t{32} << 20;

std::string text(const MatmulShape& s) {
  return fmt::format("({}, {}) · ({}, {})", s.rows, s.depth, s.depth, s.columns);
}

template <class T>
void set(cublasLtMatmulDesc_t descriptor, cublasLtMatmulDescAttributes_t name, T value) {
  NEPENTHE_CHECK(cublasLtMatmulDescSetAttribute(descriptor, name, &value, sizeof(value)));
}

template <class T>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t name, T value) {
  NEPENTHE_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, name, &value, sizeof(value)));
}

}  // namespace

Matmuls::Matmuls(cudaStream_t stream, Precision precision)
    : stream_(stream), compute_type_(precision == Precision::fp32 ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_32F_FAST_TF32) {
  NEPENTHE_CHECK(cublasLtCreate(&handle_));
}

Matmuls::~Matmuls() {
  plans_.clear();
  cublasLtDestroy(handle_);
}

/// cuBLASLt's matrices are column major: a row-major (rows, columns) is its (columns, rows).
Matmuls::Layout Matmuls::layout(int rows, int columns) {
  cublasLtMatrixLayout_t created = nullptr;
  NEPENTHE_CHECK(cublasLtMatrixLayoutCreate(&created, CUDA_R_32F, static_cast<std::uint64_t>(columns),
                                            static_cast<std::uint64_t>(rows), columns));
  return Layout(created);
}

/// Transposed, as cuBLASLt sees it, c = op(a)·op(b) is cᵀ = op(b)ᵀ·op(a)ᵀ: the operands change places, and each is to
/// be transposed where it was to be before.
Matmuls::Plan Matmuls::make(const MatmulShape& s, const float* bias) const {
  Plan plan{};
  cublasLtMatmulDesc_t operation = nullptr;
  NEPENTHE_CHECK(cublasLtMatmulDescCreate(&operation, compute_type_, CUDA_R_32F));
  plan.operation.reset(operation);
  set<std::int32_t>(operation, CUBLASLT_MATMUL_DESC_TRANSA, s.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set<std::int32_t>(operation, CUBLASLT_MATMUL_DESC_TRANSB, s.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  if (s.bias) {
    set<std::uint32_t>(operation, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set<const void*>(operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);  // tells its alignment
  }
  plan.a = s.transpose_a ? layout(s.depth, s.rows) : layout(s.rows, s.depth);
  plan.b = s.transpose_b ? layout(s.columns, s.depth) : layout(s.depth, s.columns);
  plan.c = layout(s.rows, s.columns);

  cublasLtMatmulPreference_t created = nullptr;
  NEPENTHE_CHECK(cublasLtMatmulPreferenceCreate(&created));
  const Preference preference(created);
  set<std::uint64_t>(created, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, most_workspace);
  set<std::uint32_t>(created, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, CUBLASLT_REDUCTION_SCHEME_NONE);
  for (const auto operand : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                             CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    set<std::uint32_t>(created, operand, alignment);
  }
  cublasLtMatmulHeuristicResult_t best{};
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle_, operation, plan.b.get(), plan.a.get(),
                                                               plan.c.get(), plan.c.get(), created, 1, &best, &count);
  if (status != CUBLAS_STATUS_NOT_SUPPORTED) NEPENTHE_CHECK(status);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || count == 0 || best.state != CUBLAS_STATUS_SUCCESS) {
    throw std::runtime_error(
        fmt::format("[matmul] cuBLASLt {} has no algorithm for {}", cublasLtGetVersion(), text(s)));
  }
  plan.algorithm = best.algo;
  plan.workspace = best.workspaceSize;
  return plan;
}

void Matmuls::run(CudaExec& exec, const MatmulShape& shape, float* c, const float* a, const float* b,
                  const float* bias) {
  for (const float* operand : {static_cast<const float*>(c), a, b, bias}) {
    if (reinterpret_cast<std::uintptr_t>(operand) % alignment != 0) {
      throw std::invalid_argument(
          fmt::format("[matmul] an operand of {} is not aligned to {} bytes", text(shape), alignment));
    }
  }
  auto entry = plans_.find(shape);
  if (entry == plans_.end()) entry = plans_.emplace(shape, make(shape, bias)).first;
  const Plan& plan = entry->second;
  if (shape.bias) set<const void*>(plan.operation.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  void* workspace = plan.workspace == 0 ? nullptr : exec.context().workspace(plan.workspace);
  const float alpha = 1, beta = shape.accumulate == Accumulate::add ? 1 : 0;
  NEPENTHE_CHECK(cublasLtMatmul(handle_, plan.operation.get(), &alpha, b, plan.b.get(), a, plan.a.get(), &beta, c,
                                plan.c.get(), c, plan.c.get(), &plan.algorithm, workspace, plan.workspace, stream_));
}

}  // namespace nepenthe::kernels
