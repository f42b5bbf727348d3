#include "kernels/capture.h"

#include "kernels/cuda/check.h"
#include "kernels/cuda/context.h"

namespace nepenthe::kernels {
namespace {

class CudaCapture : public Capture {
 public:
  /// Takes over `graph`.
  CudaCapture(cudaStream_t stream, cudaGraph_t graph) : stream_(stream), graph_(graph) {
    const cudaError_t status = cudaGraphInstantiate(&executable_, graph_, 0);
    if (status != cudaSuccess) cudaGraphDestroy(graph_);
    NEPENTHE_CHECK(status);
  }
  ~CudaCapture() override {
    cudaStreamSynchronize(stream_);
    cudaGraphExecDestroy(executable_);
    cudaGraphDestroy(graph_);
  }
  CudaCapture(const CudaCapture&) = delete;
  CudaCapture& operator=(const CudaCapture&) = delete;

  void replay() override { NEPENTHE_CHECK(cudaGraphLaunch(executable_, stream_)); }

  std::size_t launches() const override {
    std::size_t nodes = 0;
    NEPENTHE_CHECK(cudaGraphGetNodes(graph_, nullptr, &nodes));
    return nodes;
  }

 private:
  cudaStream_t stream_;
  cudaGraph_t graph_;
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace

std::unique_ptr<Capture> capture(CudaExec& exec, std::function<void()> work) {
  const cudaStream_t stream = exec.context().stream;
  cudaGraph_t graph = nullptr;
  // Relaxed: the arena may have to take memory meanwhile, which is no part of the graph.
  NEPENTHE_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  try {
    work();
  } catch (...) {
    cudaStreamEndCapture(stream, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  NEPENTHE_CHECK(cudaStreamEndCapture(stream, &graph));
  return std::make_unique<CudaCapture>(stream, graph);
}

}  // namespace nepenthe::kernels
