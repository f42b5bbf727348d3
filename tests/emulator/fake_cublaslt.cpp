// A small model of cuBLASLt's matrix products, so that its callers are tested where no GPU is: column-major fp32
// matrices, transposes, leading dimensions, alpha and beta, a bias, products in fp32 or TF32. Descriptors check what
// they are told; the first algorithm suggested splits its sums, unless it is forbidden, and then gives other bits every
// time.
#include <cublasLt.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <type_traits>
#include <utility>

#include <cuda_emulator_host.h>

#include "tf32.h"

struct cublasLtContext {};

namespace {

/// All that the opaque structures hold. `kind` tells them apart, and from memory that is none.
enum class Kind : std::uint64_t { layout = 0x6c61796f7574, operation = 0x6f7065726174, preference = 0x707265666572 };

struct Layout {
  Kind kind;
  std::uint64_t rows, columns;
  std::int64_t leading;
};

struct Operation {
  Kind kind;
  cublasComputeType_t compute;
  std::int32_t transpose_a, transpose_b;
  std::uint32_t epilogue;
  const float* bias;
};

struct Preference {
  Kind kind;
  std::uint64_t most_workspace;
  std::uint32_t reductions;
  std::uint32_t alignment_a, alignment_b, alignment_c, alignment_d;
};

struct Algorithm {
  std::uint64_t rows, columns, depth;
  std::uint64_t workspace;
  std::uint32_t alignment_a, alignment_b, alignment_c, alignment_d;
  std::uint32_t splits;
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));

template <class Held, class Opaque>
Held* view(Opaque* opaque, Kind kind) {
  static_assert(sizeof(Held) <= sizeof(Opaque) && std::is_trivially_copyable_v<Held>);
  auto* held = reinterpret_cast<Held*>(opaque);
  return opaque != nullptr && held->kind == kind ? held : nullptr;
}

Layout* layout_of(cublasLtMatrixLayout_t opaque) { return view<Layout>(opaque, Kind::layout); }
Operation* operation_of(cublasLtMatmulDesc_t opaque) { return view<Operation>(opaque, Kind::operation); }
Preference* preference_of(cublasLtMatmulPreference_t opaque) { return view<Preference>(opaque, Kind::preference); }

template <class Opaque, class Held>
Opaque* create(const Held& held) {
  auto* opaque = new Opaque{};
  std::memcpy(opaque->data, &held, sizeof(held));
  return opaque;
}

template <class T>
cublasStatus_t assign(T& to, const void* from, std::size_t bytes) {
  if (from == nullptr || bytes != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&to, from, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

/// A product d (rows, columns) whose operands fit each other.
struct Product {
  Operation operation;
  Layout a, b, c, d;
  std::uint64_t depth;

  std::uint64_t rows() const { return d.rows; }
  std::uint64_t columns() const { return d.columns; }
};

bool fits(const Operation* operation, const Layout* a, const Layout* b, const Layout* c, const Layout* d,
          Product& product) {
  if (!operation || !a || !b || !c || !d) return false;
  const bool turned_a = operation->transpose_a == CUBLAS_OP_T, turned_b = operation->transpose_b == CUBLAS_OP_T;
  const std::uint64_t rows = turned_a ? a->columns : a->rows, depth = turned_a ? a->rows : a->columns;
  const std::uint64_t columns = turned_b ? b->rows : b->columns, depth_of_b = turned_b ? b->columns : b->rows;
  product = {*operation, *a, *b, *c, *d, depth};
  return depth == depth_of_b && c->rows == rows && c->columns == columns && d->rows == rows && d->columns == columns;
}

bool aligned(const void* pointer, std::uint32_t alignment) {
  return alignment != 0 && reinterpret_cast<std::uintptr_t>(pointer) % alignment == 0;
}

struct Run {
  Product product;
  Algorithm algorithm;
  float alpha, beta;
  const float *a, *b, *c;
  float* d;
  void* workspace;

  static float element(const float* matrix, const Layout& layout, bool turned, std::uint64_t row,
                       std::uint64_t column) {
    if (turned) std::swap(row, column);
    return matrix[column * static_cast<std::uint64_t>(layout.leading) + row];
  }
  void operator()() const {
    if (algorithm.workspace > 0) std::memset(workspace, 0xff, algorithm.workspace);
    const Operation& operation = product.operation;
    const bool tf32 = operation.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    const auto factor = [&](float value) { return tf32 ? nepenthe::tests::round_to_tf32(value) : value; };
    static std::mt19937 generator(std::random_device{}());
    for (std::uint64_t column = 0; column < product.columns(); ++column) {
      for (std::uint64_t row = 0; row < product.rows(); ++row) {
        float sum = 0;
        for (std::uint64_t k = 0; k < product.depth; ++k) {
          sum += factor(element(a, product.a, operation.transpose_a == CUBLAS_OP_T, row, k)) *
                 factor(element(b, product.b, operation.transpose_b == CUBLAS_OP_T, k, column));
        }
        if (algorithm.splits) sum *= 1 + 1e-2f * std::uniform_real_distribution<float>(-1, 1)(generator);
        float value = alpha * sum;
        if (beta != 0) value += beta * element(c, product.c, false, row, column);
        if (operation.epilogue == CUBLASLT_EPILOGUE_BIAS) value += operation.bias[row];
        d[column * static_cast<std::uint64_t>(product.d.leading) + row] = value;
      }
    }
  }
};

}  // namespace

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = new cublasLtContext;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

std::size_t cublasLtGetVersion() { return CUBLAS_VERSION; }

const char* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
    default: return "CUBLAS_STATUS_INTERNAL_ERROR";
  }
}

const char* cublasLtGetStatusString(cublasStatus_t) { return "said by the fake cuBLASLt"; }

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, std::uint64_t rows,
                                          std::uint64_t columns, std::int64_t leading) {
  if (type != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (rows == 0 || columns == 0 || leading < static_cast<std::int64_t>(rows)) return CUBLAS_STATUS_INVALID_VALUE;
  *layout = create<cublasLtMatrixLayoutOpaque_t>(Layout{Kind::layout, rows, columns, leading});
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* operation, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  if (scale != CUDA_R_32F || (compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_FAST_TF32)) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  *operation = create<cublasLtMatmulDescOpaque_t>(
      Operation{Kind::operation, compute, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr});
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) {
  delete operation;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t name,
                                              const void* value, std::size_t bytes) {
  Operation* held = operation_of(operation);
  if (!held) return CUBLAS_STATUS_INVALID_VALUE;
  switch (name) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return assign(held->transpose_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return assign(held->transpose_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return assign(held->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return assign(held->bias, value, bytes);
    default: return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = create<cublasLtMatmulPreferenceOpaque_t>(
      Preference{Kind::preference, 0, CUBLASLT_REDUCTION_SCHEME_MASK, 256, 256, 256, 256});
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t name, const void* value,
                                                    std::size_t bytes) {
  Preference* held = preference_of(preference);
  if (!held) return CUBLAS_STATUS_INVALID_VALUE;
  switch (name) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return assign(held->most_workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return assign(held->reductions, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: return assign(held->alignment_a, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: return assign(held->alignment_b, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: return assign(held->alignment_c, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: return assign(held->alignment_d, value, bytes);
    default: return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[], int* returned) {
  Product product;
  const Preference* wishes = preference_of(preference);
  const bool fit = fits(operation_of(operation), layout_of(a), layout_of(b), layout_of(c), layout_of(d), product);
  if (!handle || !wishes || !fit || requested <= 0) return CUBLAS_STATUS_INVALID_VALUE;
  *returned = 0;
  for (const bool splits : {true, false}) {
    if (splits && wishes->reductions == CUBLASLT_REDUCTION_SCHEME_NONE) continue;
    constexpr std::uint64_t workspace = 1024;
    if (*returned == requested || workspace > wishes->most_workspace) break;
    const Algorithm algorithm{product.rows(),      product.columns(),   product.depth,
                              workspace,           wishes->alignment_a, wishes->alignment_b,
                              wishes->alignment_c, wishes->alignment_d, splits};
    cublasLtMatmulHeuristicResult_t& result = results[(*returned)++];
    result = {};
    std::memcpy(result.algo.data, &algorithm, sizeof(algorithm));
    result.workspaceSize = workspace;
    result.state = CUBLAS_STATUS_SUCCESS;
  }
  return *returned > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              std::size_t workspace_bytes, cudaStream_t stream) {
  Run run{.alpha = *static_cast<const float*>(alpha),
          .beta = *static_cast<const float*>(beta),
          .a = static_cast<const float*>(a),
          .b = static_cast<const float*>(b),
          .c = static_cast<const float*>(c),
          .d = static_cast<float*>(d),
          .workspace = workspace};
  if (!handle || !algorithm ||
      !fits(operation_of(operation), layout_of(a_layout), layout_of(b_layout), layout_of(c_layout), layout_of(d_layout),
            run.product)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  std::memcpy(&run.algorithm, algorithm->data, sizeof(run.algorithm));
  const Algorithm& chosen = run.algorithm;
  const bool same =
      chosen.rows == run.product.rows() && chosen.columns == run.product.columns() && chosen.depth == run.product.depth;
  const bool biased = run.product.operation.epilogue == CUBLASLT_EPILOGUE_BIAS;
  if (!same || workspace_bytes < chosen.workspace || !workspace || !a || !b || !c || !d ||
      (biased && !run.product.operation.bias) || !aligned(a, chosen.alignment_a) || !aligned(b, chosen.alignment_b) ||
      !aligned(c, chosen.alignment_c) || !aligned(d, chosen.alignment_d)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  cuda_emulator::enqueue(stream, run);
  return CUBLAS_STATUS_SUCCESS;
}
