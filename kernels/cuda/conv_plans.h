// cuDNN's execution plans for convolutions, cached by what they compute, and which engine each of them runs.
#pragma once

#include <cuda_runtime_api.h>
#include <cudnn.h>

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/conv_algorithms.h"
#include "kernels/cuda/cudnn_descriptor.h"
#include "kernels/cuda_exec.h"
#include "kernels/shapes.h"

namespace nepenthe::kernels {

enum class ConvOperation { forward, backward_data, backward_weights };

/// One convolution as its caller wants it.
struct ConvProblem {
  ConvOperation operation;
  Conv2dShape shape;
  Precision precision;  // bf16: operands are bf16; fp32 and tf32: operands are fp32
  Accumulate accumulate;
  bool narrow = false;  // gradients of filters in the operands' type instead of fp32
  auto operator<=>(const ConvProblem&) const = default;

  cudnnDataType_t operand_type() const;
  cudnnDataType_t result_type() const;
  std::size_t result_size() const;  // elements
};

/// A way to the result, which cuDNN writes in the operands' type: in place (adding by beta = 1), or into scratch
/// memory, from where it is then cast or added.
struct ConvRoute {
  bool in_place;
};

class ConvPlans {
 public:
  /// Throws as NEPENTHE_CHECK does where cuDNN cannot be used.
  explicit ConvPlans(cudaStream_t stream);
  ~ConvPlans();
  ConvPlans(const ConvPlans&) = delete;
  ConvPlans& operator=(const ConvPlans&) = delete;

  /// Computes into `result`; `first` and `second` are (x, w), (dy, w) or (dy, x), as in conv2d.h. The problem's plan is
  /// made at the first call. Throws std::invalid_argument for operands not aligned to 16 bytes, std::runtime_error
  /// where no engine that may be used takes the problem, or where the recorded one does not.
  void run(CudaExec& exec, const ConvProblem& problem, void* result, const void* first, const void* second);

  /// See CudaExec's functions.
  const ConvAlgorithms& algorithms() const { return algorithms_; }
  void use(const ConvAlgorithms& algorithms);
  void measure(bool on) { measures_ = on; }
  /// See kernels/conv2d.h.
  void plan_as_for_batch(int full) { full_batch_ = full; }

 private:
  struct Graph {
    std::vector<CudnnDescriptor> parts;
    CudnnDescriptor graph{CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR};
  };
  struct Plan {
    std::string key;
    ConvRoute route;
    ConvAlgorithm engine;
    std::shared_ptr<const Graph> graph;
    std::vector<CudnnDescriptor> parts;
    CudnnDescriptor plan{CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR};
    std::size_t workspace = 0;  // bytes
  };
  struct Operands {
    void* result;
    const void* first;
    const void* second;
  };

  const Plan& plan(CudaExec& exec, const ConvProblem& problem, const Operands& operands);
  Plan make(CudaExec& exec, const ConvProblem& problem, const Operands& operands);
  std::vector<Plan> suggested(const ConvProblem& problem, std::string& reason) const;
  std::shared_ptr<const Graph> graph(const ConvProblem& problem, const ConvRoute& route) const;
  std::vector<ConvAlgorithm> candidates(const Graph& graph) const;
  Plan build(std::shared_ptr<const Graph> graph, const ConvProblem& problem, const ConvRoute& route,
             const ConvAlgorithm& engine) const;
  void execute(CudaExec& exec, const ConvProblem& problem, const Plan& plan, const Operands& operands) const;
  float milliseconds(CudaExec& exec, const ConvProblem& problem, const Plan& plan, const Operands& operands) const;
  Plan fastest(CudaExec& exec, const ConvProblem& problem, std::vector<Plan> plans, const Operands& operands) const;

  cudnnHandle_t handle_ = nullptr;
  bool measures_ = false;
  int full_batch_ = 0;
  ConvAlgorithms algorithms_;
  std::map<ConvProblem, Plan> plans_;
};

}  // namespace nepenthe::kernels
