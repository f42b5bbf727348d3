#include "fake_descriptor.h"

#include <algorithm>

namespace nepenthe::tests {
namespace {

std::map<cudnnBackendDescriptor_t, SharedDescriptor>& living() {
  static std::map<cudnnBackendDescriptor_t, SharedDescriptor> all;
  return all;
}

enum class Access { set, get, both };

struct Rule {
  cudnnBackendDescriptorType_t of;
  cudnnBackendAttributeType_t type;
  std::int64_t least, most;  // elements
  bool needed;               // before finalising
  Access access = Access::set;
};

/// The part of cudnn_graph.h's table that single convolutions take.
const std::map<int, Rule>& rules() {
  constexpr auto tensor = CUDNN_BACKEND_TENSOR_DESCRIPTOR;
  constexpr auto convolution = CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR;
  constexpr auto forward = CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR;
  constexpr auto data = CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR;
  constexpr auto filter = CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR;
  constexpr auto graph = CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR;
  constexpr auto heuristics = CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR;
  constexpr auto engine = CUDNN_BACKEND_ENGINE_DESCRIPTOR;
  constexpr auto config = CUDNN_BACKEND_ENGINECFG_DESCRIPTOR;
  constexpr auto choice = CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR;
  constexpr auto plan = CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR;
  constexpr auto pack = CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR;
  constexpr auto child = CUDNN_TYPE_BACKEND_DESCRIPTOR;
  static const std::map<int, Rule> table{
      {CUDNN_ATTR_TENSOR_DATA_TYPE, {tensor, CUDNN_TYPE_DATA_TYPE, 1, 1, true}},
      {CUDNN_ATTR_TENSOR_DIMENSIONS, {tensor, CUDNN_TYPE_INT64, 1, CUDNN_DIM_MAX, true}},
      {CUDNN_ATTR_TENSOR_STRIDES, {tensor, CUDNN_TYPE_INT64, 1, CUDNN_DIM_MAX, true}},
      {CUDNN_ATTR_TENSOR_UNIQUE_ID, {tensor, CUDNN_TYPE_INT64, 1, 1, true}},
      {CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, {tensor, CUDNN_TYPE_INT64, 1, 1, true}},
      {CUDNN_ATTR_CONVOLUTION_COMP_TYPE, {convolution, CUDNN_TYPE_DATA_TYPE, 1, 1, true}},
      {CUDNN_ATTR_CONVOLUTION_CONV_MODE, {convolution, CUDNN_TYPE_CONVOLUTION_MODE, 1, 1, true}},
      {CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, {convolution, CUDNN_TYPE_INT64, 1, 1, true}},
      {CUDNN_ATTR_CONVOLUTION_DILATIONS, {convolution, CUDNN_TYPE_INT64, 1, CUDNN_DIM_MAX, true}},
      {CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, {convolution, CUDNN_TYPE_INT64, 1, CUDNN_DIM_MAX, true}},
      {CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, {convolution, CUDNN_TYPE_INT64, 1, CUDNN_DIM_MAX, true}},
      {CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, {convolution, CUDNN_TYPE_INT64, 1, CUDNN_DIM_MAX, true}},
      {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, {forward, child, 1, 1, true}},
      {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, {forward, child, 1, 1, true}},
      {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, {forward, child, 1, 1, true}},
      {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, {forward, child, 1, 1, true}},
      {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, {forward, CUDNN_TYPE_FLOAT, 1, 1, true}},
      {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, {forward, CUDNN_TYPE_FLOAT, 1, 1, true}},
      {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, {data, child, 1, 1, true}},
      {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, {data, child, 1, 1, true}},
      {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, {data, child, 1, 1, true}},
      {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, {data, child, 1, 1, true}},
      {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, {data, CUDNN_TYPE_FLOAT, 1, 1, true}},
      {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, {data, CUDNN_TYPE_FLOAT, 1, 1, true}},
      {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, {filter, child, 1, 1, true}},
      {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, {filter, child, 1, 1, true}},
      {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, {filter, child, 1, 1, true}},
      {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, {filter, child, 1, 1, true}},
      {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, {filter, CUDNN_TYPE_FLOAT, 1, 1, true}},
      {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, {filter, CUDNN_TYPE_FLOAT, 1, 1, true}},
      {CUDNN_ATTR_OPERATIONGRAPH_HANDLE, {graph, CUDNN_TYPE_HANDLE, 1, 1, true}},
      {CUDNN_ATTR_OPERATIONGRAPH_OPS, {graph, child, 1, 1, true}},
      {CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, {heuristics, child, 1, 1, true}},
      {CUDNN_ATTR_ENGINEHEUR_MODE, {heuristics, CUDNN_TYPE_HEUR_MODE, 1, 1, true}},
      {CUDNN_ATTR_ENGINEHEUR_RESULTS, {heuristics, child, 0, 100, false, Access::get}},
      {CUDNN_ATTR_ENGINE_OPERATION_GRAPH, {engine, child, 1, 1, true}},
      {CUDNN_ATTR_ENGINE_GLOBAL_INDEX, {engine, CUDNN_TYPE_INT64, 1, 1, true, Access::both}},
      {CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, {engine, CUDNN_TYPE_NUMERICAL_NOTE, 0, 100, false, Access::get}},
      {CUDNN_ATTR_ENGINECFG_ENGINE, {config, child, 1, 1, true, Access::both}},
      {CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, {config, child, 0, CUDNN_KNOB_TYPE_COUNTS, false, Access::both}},
      {CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, {choice, CUDNN_TYPE_KNOB_TYPE, 1, 1, true, Access::both}},
      {CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, {choice, CUDNN_TYPE_INT64, 1, 1, true, Access::both}},
      {CUDNN_ATTR_EXECUTION_PLAN_HANDLE, {plan, CUDNN_TYPE_HANDLE, 1, 1, true}},
      {CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, {plan, child, 1, 1, true}},
      {CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, {plan, CUDNN_TYPE_INT64, 1, 1, false, Access::get}},
      {CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, {pack, CUDNN_TYPE_INT64, 1, 100, true}},
      {CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, {pack, CUDNN_TYPE_VOID_PTR, 1, 100, true}},
      {CUDNN_ATTR_VARIANT_PACK_WORKSPACE, {pack, CUDNN_TYPE_VOID_PTR, 1, 1, true}},
  };
  return table;
}

const Rule& rule_for(const FakeDescriptor& descriptor, cudnnBackendAttributeName_t name,
                     cudnnBackendAttributeType_t type, Access access) {
  const auto rule = rules().find(name);
  require(rule != rules().end() && rule->second.of == descriptor.type, CUDNN_STATUS_BAD_PARAM,
          "this descriptor has no such attribute");
  require(rule->second.access == access || rule->second.access == Access::both, CUDNN_STATUS_BAD_PARAM,
          access == Access::set ? "the attribute cannot be set" : "the attribute cannot be read");
  require(rule->second.type == type, CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, "the attribute is of another type");
  return rule->second;
}

std::size_t size_of(cudnnBackendAttributeType_t type) {
  switch (type) {
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_VOID_PTR: return sizeof(void*);
    case CUDNN_TYPE_INT64: return sizeof(std::int64_t);
    case CUDNN_TYPE_FLOAT: return sizeof(float);
    default: return sizeof(int);  // enumerators
  }
}

}  // namespace

const FakeValue& FakeDescriptor::value(cudnnBackendAttributeName_t name) const {
  const auto found = values.find(name);
  if (found == values.end()) fail(CUDNN_STATUS_BAD_PARAM, "attribute " + std::to_string(name) + " is not set");
  return found->second;
}

SharedDescriptor create_descriptor(cudnnBackendDescriptorType_t type) {
  auto created = std::make_shared<FakeDescriptor>(FakeDescriptor{type, false, {}});
  living()[created.get()] = created;
  return created;
}

SharedDescriptor& held(cudnnBackendDescriptor_t pointer) {
  const auto found = living().find(pointer);
  require(found != living().end(), CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no such descriptor");
  return found->second;
}

void destroy_descriptor(cudnnBackendDescriptor_t pointer) {
  held(pointer);
  living().erase(pointer);
}

void set_attribute(FakeDescriptor& d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                   std::int64_t count, const void* elements) {
  require(!d.finalised, CUDNN_STATUS_BAD_PARAM, "the descriptor is finalised already");
  const Rule& rule = rule_for(d, name, type, Access::set);
  require(elements != nullptr, CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no elements");
  require(count >= rule.least && count <= rule.most, CUDNN_STATUS_BAD_PARAM, "a wrong number of elements");
  FakeValue value{type, count, {}, {}};
  if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
    for (std::int64_t i = 0; i < count; ++i) {
      value.descriptors.push_back(held(static_cast<const cudnnBackendDescriptor_t*>(elements)[i]));
      require(value.descriptors.back()->finalised, CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "finalise the part first");
    }
  } else {
    value.bytes.resize(static_cast<std::size_t>(count) * size_of(type));
    std::memcpy(value.bytes.data(), elements, value.bytes.size());
  }
  d.values[name] = std::move(value);
}

void get_attribute(const FakeDescriptor& d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                   std::int64_t room, std::int64_t* count, void* elements) {
  require(d.finalised, CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "the descriptor is not finalised");
  rule_for(d, name, type, Access::get);
  const auto found = d.values.find(name);
  const std::int64_t there = found == d.values.end() ? 0 : found->second.count;
  if (count) *count = there;
  const std::int64_t written = std::min(room, there);
  if (written == 0) return;
  require(elements != nullptr, CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "nowhere to write to");
  if (type != CUDNN_TYPE_BACKEND_DESCRIPTOR) {
    std::memcpy(elements, found->second.bytes.data(), static_cast<std::size_t>(written) * size_of(type));
    return;
  }
  for (std::int64_t i = 0; i < written; ++i) {
    SharedDescriptor& to = held(static_cast<cudnnBackendDescriptor_t*>(elements)[i]);
    const FakeDescriptor& from = *found->second.descriptors[static_cast<std::size_t>(i)];
    require(to->type == from.type && !to->finalised, CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE,
            "new descriptors of the type are to be filled");
    *to = from;
  }
}

void check_complete(const FakeDescriptor& d) {
  for (const auto& [name, rule] : rules()) {
    require(rule.of != d.type || !rule.needed || d.values.contains(name), CUDNN_STATUS_BAD_PARAM,
            "an attribute is missing");
  }
}

}  // namespace nepenthe::tests
