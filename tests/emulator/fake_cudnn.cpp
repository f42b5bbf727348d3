// A small model of cuDNN's backend API, so that its callers are tested where no GPU is: descriptors check names, types,
// counts and order of calls as cuDNN does (fake_descriptor.h), heuristics suggest engines of all kinds, and plans
// compute single convolutions (fake_convolution.h).
//
// NEPENTHE_FAKE_CUDNN=plain: no engine adds to its result (beta = 0 alone).
#include <cudnn.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <cuda_emulator_host.h>

#include "fake_convolution.h"
#include "fake_descriptor.h"

struct cudnnContext {
  cudaStream_t stream = nullptr;
};

namespace {

using namespace nepenthe::tests;
using nepenthe::kernels::Conv2dShape;

std::string last_error;

template <class Body>
cudnnStatus_t guarded(Body&& body) {
  const auto turn = cuda_emulator::take_turn();
  try {
    body();
    return CUDNN_STATUS_SUCCESS;
  } catch (const Failure& failure) {
    last_error = failure.text;
    return failure.status;
  }
}

bool plain() {
  const char* mode = std::getenv("NEPENTHE_FAKE_CUDNN");
  return mode && std::string_view(mode) == "plain";
}

FakeTensor tensor_of(const FakeDescriptor& d) {
  require(d.type == CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "a tensor is needed");
  const auto dimensions = d.all<std::int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS);
  const auto strides = d.all<std::int64_t>(CUDNN_ATTR_TENSOR_STRIDES);
  require(dimensions.size() == 4 && strides.size() == 4, CUDNN_STATUS_BAD_PARAM, "tensors have four dimensions here");
  FakeTensor tensor{d.one<std::int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID),
                    d.one<std::int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT),
                    d.one<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE),
                    {},
                    {}};
  for (std::size_t i = 0; i < 4; ++i) {
    require(dimensions[i] > 0 && strides[i] > 0, CUDNN_STATUS_BAD_PARAM, "dimensions and strides are positive");
    tensor.dimensions[i] = dimensions[i];
    tensor.strides[i] = strides[i];
  }
  require(tensor.type == CUDNN_DATA_FLOAT || tensor.type == CUDNN_DATA_BFLOAT16, CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE,
          "fp32 and bf16 alone");
  require(tensor.alignment > 0 && (tensor.alignment & (tensor.alignment - 1)) == 0, CUDNN_STATUS_BAD_PARAM,
          "an alignment is a power of two");
  return tensor;
}

int both(const FakeDescriptor& d, cudnnBackendAttributeName_t name) {
  const auto numbers = d.all<std::int64_t>(name);
  require(numbers.size() == 2, CUDNN_STATUS_BAD_PARAM, "a number for each of two spatial dimensions");
  require(numbers[0] == numbers[1], CUDNN_STATUS_NOT_SUPPORTED, "both directions alike");
  return static_cast<int>(numbers[0]);
}

void check_convolution(const FakeDescriptor& d) {
  require(d.one<std::int64_t>(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS) == 2, CUDNN_STATUS_NOT_SUPPORTED, "2-d alone");
  require(d.one<cudnnDataType_t>(CUDNN_ATTR_CONVOLUTION_COMP_TYPE) == CUDNN_DATA_FLOAT, CUDNN_STATUS_NOT_SUPPORTED,
          "sums in fp32 alone");
  require(d.one<cudnnConvolutionMode_t>(CUDNN_ATTR_CONVOLUTION_CONV_MODE) == CUDNN_CROSS_CORRELATION,
          CUDNN_STATUS_NOT_SUPPORTED, "cross-correlation alone");
  require(both(d, CUDNN_ATTR_CONVOLUTION_DILATIONS) == 1, CUDNN_STATUS_NOT_SUPPORTED, "no dilation");
  require(both(d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS) == both(d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS),
          CUDNN_STATUS_NOT_SUPPORTED, "symmetric padding alone");
}

struct Names {
  FakeOperation operation;
  cudnnBackendAttributeName_t convolution, x, w, y, alpha, beta;
};

Names names_for(cudnnBackendDescriptorType_t operation) {
  switch (operation) {
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
      return {FakeOperation::forward,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
      return {FakeOperation::backward_data,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
      return {FakeOperation::backward_weights,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
    default: fail(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "a convolution's operation is needed");
  }
}

FakeConvolution convolution_of(const FakeDescriptor& operation) {
  const Names names = names_for(operation.type);
  const FakeDescriptor& c = operation.child(names.convolution);
  require(c.type == CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE,
          "a convolution is needed");
  const FakeTensor x = tensor_of(operation.child(names.x)), w = tensor_of(operation.child(names.w)),
                   y = tensor_of(operation.child(names.y));
  const Conv2dShape s{.n = x.size(0),
                      .h = x.size(2),
                      .w = x.size(3),
                      .c = x.size(1),
                      .out_c = w.size(0),
                      .kernel = w.size(2),
                      .stride = both(c, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES),
                      .padding = both(c, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS)};
  require(w.size(1) == s.c && w.size(3) == s.kernel, CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "filters do not fit");
  require(y.size(0) == s.n && y.size(1) == s.out_c && y.size(2) == s.out_h() && y.size(3) == s.out_w(),
          CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "the output does not fit");
  require(x.id != w.id && w.id != y.id && x.id != y.id, CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES, "ids are unique");
  const FakeConvolution convolution{
      names.operation, s, x, w, y, operation.one<float>(names.alpha), operation.one<float>(names.beta)};
  for (const FakeTensor* tensor : {&x, &w, &y}) {
    require(tensor->id == convolution.result().id || tensor->type == convolution.operand_type(),
            CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "operands of one type alone");
  }
  return convolution;
}

const FakeDescriptor& operation_of(const FakeDescriptor& graph) { return graph.child(CUDNN_ATTR_OPERATIONGRAPH_OPS); }

const FakeEngine& engine_of(const FakeDescriptor& d) {
  const auto index = d.one<std::int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX);
  require(index >= 0 && index < static_cast<std::int64_t>(fake_engines().size()), CUDNN_STATUS_BAD_PARAM_OUT_OF_BOUND,
          "there is no such engine");
  return fake_engines()[static_cast<std::size_t>(index)];
}

FakeKnobs knobs_of(const FakeDescriptor& config) {
  FakeKnobs knobs;
  if (!config.values.contains(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES)) return knobs;
  for (const SharedDescriptor& choice : config.value(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES).descriptors) {
    knobs[choice->one<cudnnBackendKnobType_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE)] =
        choice->one<std::int64_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE);
  }
  return knobs;
}

void finalise_heuristics(FakeDescriptor& d) {
  const FakeConvolution convolution = convolution_of(operation_of(d.child(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH)));
  require(convolution.result().type == convolution.operand_type(), CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE,
          "all tensors of one type");
  const auto mode = d.one<cudnnBackendHeurMode_t>(CUDNN_ATTR_ENGINEHEUR_MODE);
  require(mode == CUDNN_HEUR_MODE_A || mode == CUDNN_HEUR_MODE_FALLBACK, CUDNN_STATUS_NOT_SUPPORTED,
          "mode A and fallback alone");
  const SharedDescriptor graph = d.value(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH).descriptors[0];
  std::vector<SharedDescriptor> configs;
  for (const FakeSuggestion& suggestion : fake_suggestions(mode)) {
    auto engine = std::make_shared<FakeDescriptor>(FakeDescriptor{CUDNN_BACKEND_ENGINE_DESCRIPTOR, true, {}});
    engine->put(CUDNN_ATTR_ENGINE_OPERATION_GRAPH, {graph});
    engine->put<std::int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, {suggestion.index});
    engine->put(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, engine_of(*engine).notes);
    std::vector<SharedDescriptor> choices;
    for (const auto& [type, value] : suggestion.knobs) {
      auto choice = std::make_shared<FakeDescriptor>(FakeDescriptor{CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, true, {}});
      choice->put<cudnnBackendKnobType_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, {type});
      choice->put<std::int64_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, {value});
      choices.push_back(std::move(choice));
    }
    auto config = std::make_shared<FakeDescriptor>(FakeDescriptor{CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, true, {}});
    config->put(CUDNN_ATTR_ENGINECFG_ENGINE, {std::move(engine)});
    config->put(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, std::move(choices));
    configs.push_back(std::move(config));
  }
  d.put(CUDNN_ATTR_ENGINEHEUR_RESULTS, std::move(configs));
}

void finalise_config(const FakeDescriptor& d) {
  const FakeEngine& engine = engine_of(d.child(CUDNN_ATTR_ENGINECFG_ENGINE));
  for (const auto& [type, value] : knobs_of(d)) {
    const auto most = engine.most.find(type);
    require(most != engine.most.end() && value >= 0 && value <= most->second, CUDNN_STATUS_BAD_PARAM_OUT_OF_BOUND,
            "the engine has no such knob, or not this value of it");
  }
}

void finalise_plan(FakeDescriptor& d) {
  const FakeDescriptor& engine = d.child(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG).child(CUDNN_ATTR_ENGINECFG_ENGINE);
  const FakeDescriptor& graph = engine.child(CUDNN_ATTR_ENGINE_OPERATION_GRAPH);
  require(engine_of(engine).takes_graphs, CUDNN_STATUS_NOT_SUPPORTED, "the engine does not take the graph");
  require(!plain() || convolution_of(operation_of(graph)).beta == 0, CUDNN_STATUS_NOT_SUPPORTED, "beta is 0 alone");
  require(d.one<cudnnHandle_t>(CUDNN_ATTR_EXECUTION_PLAN_HANDLE) ==
              graph.one<cudnnHandle_t>(CUDNN_ATTR_OPERATIONGRAPH_HANDLE),
          CUDNN_STATUS_BAD_PARAM, "the graph's handle is needed");
  d.put<std::int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, {engine_of(engine).workspace});
}

void finalise_pack(const FakeDescriptor& d) {
  const auto ids = d.all<std::int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  require(ids.size() == d.all<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS).size(), CUDNN_STATUS_BAD_PARAM,
          "as many pointers as ids");
  require(std::set(ids.begin(), ids.end()).size() == ids.size(), CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES, "ids");
}

void finalise(FakeDescriptor& d) {
  require(!d.finalised, CUDNN_STATUS_BAD_PARAM, "finalised twice");
  check_complete(d);
  switch (d.type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR: tensor_of(d); break;
    case CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR: check_convolution(d); break;
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR: convolution_of(d); break;
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR: convolution_of(operation_of(d)); break;
    case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR: finalise_heuristics(d); break;
    case CUDNN_BACKEND_ENGINE_DESCRIPTOR:
      d.put(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, engine_of(d).notes);
      break;
    case CUDNN_BACKEND_ENGINECFG_DESCRIPTOR: finalise_config(d); break;
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR: finalise_plan(d); break;
    case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR: finalise_pack(d); break;
    default: break;
  }
  d.finalised = true;
}

void execute(cudnnHandle_t handle, const FakeDescriptor& plan, const FakeDescriptor& pack) {
  require(plan.type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR && pack.type == CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR,
          CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "a plan and a pack are needed");
  require(plan.finalised && pack.finalised, CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "plan or pack is not finalised");
  require(handle == plan.one<cudnnHandle_t>(CUDNN_ATTR_EXECUTION_PLAN_HANDLE), CUDNN_STATUS_BAD_PARAM,
          "the plan is another handle's");
  const FakeDescriptor& config = plan.child(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
  const FakeDescriptor& engine = config.child(CUDNN_ATTR_ENGINECFG_ENGINE);
  FakeRun run{convolution_of(operation_of(engine.child(CUDNN_ATTR_ENGINE_OPERATION_GRAPH))),
              engine_of(engine),
              knobs_of(config),
              {},
              pack.one<void*>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE)};
  require(run.workspace != nullptr || run.engine.workspace == 0, CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no workspace");
  const auto ids = pack.all<std::int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  const auto pointers = pack.all<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
  for (std::size_t i = 0; i < ids.size(); ++i) run.memory[ids[i]] = pointers[i];
  for (const FakeTensor* tensor : {&run.convolution.x, &run.convolution.w, &run.convolution.y}) {
    require(run.memory.contains(tensor->id), CUDNN_STATUS_BAD_PARAM, "a tensor has no memory");
    const auto address = reinterpret_cast<std::uintptr_t>(run.memory[tensor->id]);
    require(address != 0, CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "a tensor has no memory");
    require(address % static_cast<std::uintptr_t>(tensor->alignment) == 0, CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER,
            "a tensor is not aligned as was said");
  }
  cuda_emulator::enqueue(handle->stream, std::move(run));
}

}  // namespace

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* descriptor) {
  return guarded([&] { *descriptor = create_descriptor(type).get(); });
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  return guarded([&] { destroy_descriptor(descriptor); });
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  return guarded([&] { finalise(*held(descriptor)); });
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, std::int64_t count, const void* elements) {
  return guarded([&] { set_attribute(*held(descriptor), name, type, count, elements); });
}

cudnnStatus_t cudnnBackendGetAttribute(const cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, std::int64_t room, std::int64_t* count,
                                       void* elements) {
  return guarded([&] { get_attribute(*held(descriptor), name, type, room, count, elements); });
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack) {
  return guarded([&] { execute(handle, *held(plan), *held(pack)); });
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  *handle = new cudnnContext;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  delete handle;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

std::size_t cudnnGetVersion() { return CUDNN_VERSION; }

const char* cudnnGetErrorString(cudnnStatus_t status) {
  switch (CUDNN_STATUS_CATEGORY(status)) {
    case CUDNN_STATUS_SUCCESS: return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_BAD_PARAM: return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_NOT_SUPPORTED: return "CUDNN_STATUS_NOT_SUPPORTED";
    default: return "CUDNN_STATUS_INTERNAL_ERROR";
  }
}

void cudnnGetLastErrorString(char* message, std::size_t size) {
  if (size == 0) return;
  const auto turn = cuda_emulator::take_turn();
  message[std::min(size - 1, last_error.copy(message, size - 1))] = 0;
  last_error.clear();
}
