// Matrix products through cuBLASLt, with descriptors and algorithms cached by shape.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <map>
#include <memory>

#include "kernels/cuda_exec.h"
#include "kernels/shapes.h"

namespace nepenthe::kernels {

/// c (rows, columns) [+]= op(a) · op(b) [+ bias (columns)], all fp32 and row major. op(a) is (rows, depth): a itself,
/// or the transpose of an a of (depth, rows); op(b) is (depth, columns) likewise.
struct MatmulShape {
  int rows, columns, depth;
  bool transpose_a = false, transpose_b = false;
  bool bias = false;
  Accumulate accumulate = Accumulate::assign;
  auto operator<=>(const MatmulShape&) const = default;
};

class Matmuls {
 public:
  /// Products are in true fp32 for Precision::fp32, else in TF32. Throws as NEPENTHE_CHECK does.
  Matmuls(cudaStream_t stream, Precision precision);
  ~Matmuls();
  Matmuls(const Matmuls&) = delete;
  Matmuls& operator=(const Matmuls&) = delete;

  /// Sums over the depth are never split, so results have the same bits every time. `bias` is null without one; the
  /// shape is not empty. Throws std::invalid_argument for operands not aligned to 16 bytes, std::runtime_error where
  /// cuBLASLt has no algorithm.
  void run(CudaExec& exec, const MatmulShape& shape, float* c, const float* a, const float* b,
           const float* bias = nullptr);

 private:
  struct Destroy {
    void operator()(cublasLtMatmulDesc_t descriptor) const { cublasLtMatmulDescDestroy(descriptor); }
    void operator()(cublasLtMatrixLayout_t layout) const { cublasLtMatrixLayoutDestroy(layout); }
    void operator()(cublasLtMatmulPreference_t preference) const { cublasLtMatmulPreferenceDestroy(preference); }
  };
  using Operation = std::unique_ptr<cublasLtMatmulDescOpaque_t, Destroy>;
  using Layout = std::unique_ptr<cublasLtMatrixLayoutOpaque_t, Destroy>;
  using Preference = std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, Destroy>;
  struct Plan {
    Operation operation;
    Layout a, b, c;
    cublasLtMatmulAlgo_t algorithm;
    std::size_t workspace;  // bytes
  };

  static Layout layout(int rows, int columns);
  Plan make(const MatmulShape& shape, const float* bias) const;

  cudaStream_t stream_;
  cublasComputeType_t compute_type_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<MatmulShape, Plan> plans_;
};

}  // namespace nepenthe::kernels
