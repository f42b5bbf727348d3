// Convolution plans by the real cuDNN, without a GPU: its heuristics and engines accept a described device, so all that
// comes before the first run is checked: graphs, engines, knobs, records. Calls that need a GPU are left out by the
// linker's --wrap, and the memory that convolutions would see does not exist.
#include <cudnn.h>
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>

#include "kernels/bf16.h"
#include "kernels/capture.h"
#include "kernels/conv2d.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/conv_plans.h"
#include "kernels/cuda/matmul.h"
#include "kernels/elementwise.h"
#include "tests/cases/conv2d.h"

namespace {

cudnnBackendDescriptor_t device = nullptr;                                              // as described
std::map<cudnnBackendDescriptor_t, cudnnBackendDescriptorType_t> types_of_descriptors;  // made so far
int executions = 0, heuristics = 0;
bool engine_on_tensor_cores = false;  // that of the last engine made
int plans_on_tensor_cores = 0;

}  // namespace

extern "C" {
cudnnStatus_t __real_cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* made);
cudnnStatus_t __real_cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor);
cudnnStatus_t __real_cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                              cudnnBackendAttributeType_t type, int64_t count, const void* values);

cudnnStatus_t __wrap_cudnnCreate(cudnnHandle_t* handle) {
  *handle = reinterpret_cast<cudnnHandle_t>(0x10);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t __wrap_cudnnDestroy(cudnnHandle_t) { return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t __wrap_cudnnSetStream(cudnnHandle_t, cudaStream_t) { return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t __wrap_cudnnBackendExecute(cudnnHandle_t, cudnnBackendDescriptor_t, cudnnBackendDescriptor_t) {
  ++executions;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t __wrap_cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* made) {
  const cudnnStatus_t status = __real_cudnnBackendCreateDescriptor(type, made);
  types_of_descriptors[*made] = type;
  return status;
}
cudnnStatus_t __wrap_cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                              cudnnBackendAttributeType_t type, int64_t count, const void* values) {
  if (name == CUDNN_ATTR_OPERATIONGRAPH_HANDLE || name == CUDNN_ATTR_EXECUTION_PLAN_HANDLE) return CUDNN_STATUS_SUCCESS;
  return __real_cudnnBackendSetAttribute(descriptor, name, type, count, values);
}
cudnnStatus_t __wrap_cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  const auto describe = [&](cudnnBackendAttributeName_t name) {
    __real_cudnnBackendSetAttribute(descriptor, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &device);
  };
  const auto type = types_of_descriptors[descriptor];
  if (type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR) {
    describe(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP);
    ++heuristics;
  }
  if (type == CUDNN_BACKEND_ENGINE_DESCRIPTOR) describe(CUDNN_ATTR_ENGINE_DEVICEPROP);
  const cudnnStatus_t status = __real_cudnnBackendFinalize(descriptor);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  if (type == CUDNN_BACKEND_ENGINE_DESCRIPTOR) {
    std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
    std::int64_t count = 0;
    cudnnBackendGetAttribute(descriptor, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                             CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &count, notes.data());
    engine_on_tensor_cores = std::count(notes.begin(), notes.begin() + count, CUDNN_NUMERICAL_NOTE_TENSOR_CORE) != 0;
  }
  if (type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR && engine_on_tensor_cores) ++plans_on_tensor_cores;
  return status;
}
}

// What the plans need of the rest of the backend, without a GPU.
namespace nepenthe::kernels {

CudaContext::CudaContext(Precision its_precision) : precision(its_precision) {
  device_name = "described GPU";
  convolutions = std::make_unique<ConvPlans>(nullptr);
}
CudaContext::~CudaContext() = default;
Matmuls::~Matmuls() = default;
void* CudaContext::workspace(std::size_t bytes) {
  REQUIRE(bytes <= std::size_t{4} << 30);
  return reinterpret_cast<void*>(0x1000);
}
CudaExec::CudaExec(Precision precision)
    : precision_(precision), context_(new CudaContext(precision), [](CudaContext* context) { delete context; }) {}
void add(CudaExec&, std::size_t, float*, const float*) {}
void add(CudaExec&, std::size_t, bf16*, const bf16*) {}
void cast(CudaExec&, std::size_t, float*, Accumulate, const bf16*) {}
std::unique_ptr<Capture> capture(CudaExec&, std::function<void()>) { throw std::runtime_error("nothing runs here"); }

}  // namespace nepenthe::kernels

namespace nepenthe::tests {
namespace {

using namespace kernels;

/// As sm_XY; false where this cuDNN does not take the description.
bool describe_device(int capability, int multiprocessors, int shared_bytes) {
  const std::string text = fmt::format(
      R"({{"cudnnVersion":{},"schemaVersion":1,"deviceVer":{},"driverVer":13000,"cudaDeviceId":0,"deviceName":"NVIDIA",)"
      R"("totalGlobalMem":85000000000,"maxGridSize":[2147483647,65535,65535],"maxBlockSize":[1024,1024,64],)"
      R"("regsPerBlock":65536,"multiProcessorCount":{},"warpSize":32,"maxSharedMemoryPerBlock":49152,)"
      R"("maxSharedMemoryPerBlockOptin":{},"reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,)"
      R"("maxCtasPerSM":32,"maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,"pciDeviceId":0,"isTccDriver":0,)"
      R"("supportCoopLaunch":1,"smClockRateKHz":1980000,"memClockRateKHz":2619000,"l2CacheSize":52428800}})",
      cudnnGetVersion(), capability * 10, multiprocessors, shared_bytes);
  __real_cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &device);
  return __real_cudnnBackendSetAttribute(device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                                         static_cast<std::int64_t>(text.size()), text.data()) == CUDNN_STATUS_SUCCESS &&
         __real_cudnnBackendFinalize(device) == CUDNN_STATUS_SUCCESS;
}

/// All of CIFAR's and ImageNet's ResNets, a partial batch, and odd ones.
std::vector<Conv2dShape> all_shapes() {
  std::vector<Conv2dShape> all = cases::of_network(cases::conv2d, 128);
  all.insert(all.end(), {{80, 32, 32, 3, 16, 3, 1, 1}, {17, 9, 7, 3, 16, 3, 1, 1}, {3, 7, 5, 5, 24, 3, 2, 1}});
  return all;
}
const std::vector<Conv2dShape> shapes = all_shapes();

template <class T>
void plan_all(CudaExec& exec) {
  auto* t = reinterpret_cast<T*>(0x1000);  // never read
  auto* f = reinterpret_cast<float*>(0x1000);
  const T* in = t;
  for (const Conv2dShape& shape : shapes) {
    CAPTURE(shape.h);
    CAPTURE(shape.c);
    CAPTURE(shape.out_c);
    CHECK_NOTHROW(conv2d_forward<T>(exec, {.shape = shape, .y = t, .x = in, .w = in}));
    for (const Accumulate accumulate : {Accumulate::assign, Accumulate::add}) {
      CHECK_NOTHROW(
          conv2d_backward_data<T>(exec, {.shape = shape, .dx = t, .accumulate = accumulate, .dy = in, .w = in}));
      CHECK_NOTHROW(
          conv2d_backward_weights<T>(exec, {.shape = shape, .dw = f, .accumulate = accumulate, .dy = in, .x = in}));
    }
    if constexpr (std::is_same_v<T, bf16>) {  // the engine of the gradient that is cast, under its name
      const auto known = exec.context().convolutions->algorithms();
      CHECK_NOTHROW(conv2d_backward_weights<T>(
          exec, {.shape = shape, .dw = f, .narrow_dw = t, .accumulate = Accumulate::assign, .dy = in, .x = in}));
      CHECK(exec.context().convolutions->algorithms() == known);
    }
  }
}

void plan_all(CudaExec& exec) {
  if (exec.precision() == Precision::bf16) return plan_all<bf16>(exec);
  plan_all<float>(exec);
}

TEST_CASE("cudnn: every convolution has a deterministic plan, whose record gives the same plan again") {
  for (const auto& [capability, multiprocessors, shared_bytes] :
       {std::tuple{80, 108, 166912}, std::tuple{86, 82, 101376}, std::tuple{89, 128, 101376},
        std::tuple{90, 132, 232448}}) {
    if (!describe_device(capability, multiprocessors, shared_bytes)) {
      MESSAGE("skipped: cuDNN ", cudnnGetVersion(), " takes no described device");
      return;
    }
    for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16}) {
      CAPTURE(capability);
      CAPTURE(std::string(name(precision)));
      CudaExec exec(precision), again(precision);
      executions = 0;
      plan_all(exec);
      CHECK(executions == (precision == Precision::bf16 ? 6 : 5) * static_cast<int>(std::size(shapes)));
      const ConvAlgorithms& engines = exec.context().convolutions->algorithms();
      CHECK(engines.size() == 5 * std::size(shapes));
      again.context().convolutions->use(engines);
      plan_all(again);
      CHECK(again.context().convolutions->algorithms() == engines);
    }
  }
}

TEST_CASE(
    "cudnn: a partial batch takes the whole one's engine, whichever of them comes first, and asks no heuristics") {
  if (!describe_device(90, 132, 232448)) return;
  const Conv2dShape whole{.n = 128, .h = 16, .w = 16, .c = 32, .out_c = 32, .kernel = 3, .stride = 1, .padding = 1};
  Conv2dShape partial = whole;
  partial.n = 80;
  auto* t = reinterpret_cast<bf16*>(0x1000);  // never read
  const auto run = [t](CudaExec& exec, const Conv2dShape& shape) {
    conv2d_forward<bf16>(exec, {.shape = shape, .y = t, .x = t, .w = t});
  };
  CudaExec exec(Precision::bf16), reversed(Precision::bf16);
  plan_as_for_batch(exec, whole.n);
  run(exec, whole);
  heuristics = 0;
  run(exec, partial);
  CHECK(heuristics == 0);
  const ConvAlgorithms& engines = exec.context().convolutions->algorithms();
  REQUIRE(engines.size() == 2);
  CHECK(engines.begin()->second == std::next(engines.begin())->second);

  plan_as_for_batch(reversed, whole.n);
  run(reversed, partial);
  CHECK(reversed.context().convolutions->algorithms() == engines);
}

TEST_CASE("cudnn: in bf16 the three channels of pictures have engines on tensor cores, so they need no padding") {
  auto* t = reinterpret_cast<bf16*>(0x1000);  // never read
  for (const auto& [capability, multiprocessors, shared_bytes] :
       {std::tuple{80, 108, 166912}, std::tuple{90, 132, 232448}}) {
    if (!describe_device(capability, multiprocessors, shared_bytes)) return;
    for (const Conv2dShape& stem : {Conv2dShape{128, 32, 32, 3, 16, 3, 1, 1}, {64, 224, 224, 3, 64, 7, 2, 3}}) {
      CAPTURE(capability);
      CAPTURE(stem.h);
      CudaExec exec(Precision::bf16);
      exec.context().convolutions->measure(true);  // so that a plan is made of every engine
      plans_on_tensor_cores = 0;
      conv2d_forward<bf16>(exec, {.shape = stem, .y = t, .x = t, .w = t});
      CHECK(plans_on_tensor_cores > 0);
      plans_on_tensor_cores = 0;
      conv2d_backward_weights<bf16>(
          exec, {.shape = stem, .dw = nullptr, .narrow_dw = t, .accumulate = Accumulate::assign, .dy = t, .x = t});
      CHECK(plans_on_tensor_cores > 0);
    }
  }
}

}  // namespace
}  // namespace nepenthe::tests
