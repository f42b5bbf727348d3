#include "kernels/cuda/conv_plans.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <new>
#include <stdexcept>
#include <utility>

#include <fmt/core.h>

#include "kernels/bf16.h"
#include "kernels/capture.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/stopwatch.h"
#include "kernels/elementwise.h"

namespace nepenthe::kernels {
namespace {

constexpr std::size_t alignment = 16;  // bytes, of all operands; cuDNN's widest access
constexpr std::size_t most_workspace = std::size_t{1} << 30;

/// What cuDNN calls the operation and its attributes. Tensors are known by 'x', 'w' and 'y' in all three.
struct Names {
  const char* text;
  cudnnBackendDescriptorType_t operation;
  cudnnBackendAttributeName_t convolution, x, w, y, alpha, beta;
  char result, first, second;
};

const Names& names(ConvOperation operation) {
  static const Names forward{"forward",
                             CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
                             'y',
                             'x',
                             'w'};
  static const Names backward_data{"backward_data",
                                   CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
                                   'x',
                                   'y',
                                   'w'};
  static const Names backward_weights{"backward_weights",
                                      CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                                      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                                      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                                      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                                      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                                      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                                      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
                                      'w',
                                      'y',
                                      'x'};
  switch (operation) {
    case ConvOperation::forward: return forward;
    case ConvOperation::backward_data: return backward_data;
    case ConvOperation::backward_weights: break;
  }
  return backward_weights;
}

/// In order of preference.
std::vector<ConvRoute> routes(const ConvProblem& problem) {
  std::vector<ConvRoute> all;
  const bool same_type = problem.operand_type() == problem.result_type(), adds = problem.accumulate == Accumulate::add;
  if (same_type) all.push_back({.in_place = true});
  if (!same_type || adds) all.push_back({.in_place = false});
  return all;
}

std::string key(const ConvProblem& problem, const ConvRoute& route) {
  const Conv2dShape& s = problem.shape;
  return fmt::format("{} {} n{} h{} w{} c{} k{} r{} s{} p{}{}{}", names(problem.operation).text,
                     name(problem.precision), s.n, s.h, s.w, s.c, s.out_c, s.kernel, s.stride, s.padding,
                     problem.accumulate == Accumulate::add ? " add" : "",
                     route.in_place && !problem.narrow               ? ""  // narrow: the engine is that of the cast
                     : problem.operand_type() == CUDNN_DATA_BFLOAT16 ? " via bf16"
                                                                     : " via fp32");
}

std::string library(CudaExec& exec) {
  const std::size_t version = cudnnGetVersion();
  return fmt::format("cuDNN {}.{}.{}, {}", version / 10000, version / 100 % 100, version % 100,
                     exec.context().device_name);
}

/// A tensor of logical dimensions (n, c, h, w) that lies in memory as NHWC.
CudnnDescriptor tensor(char id, cudnnDataType_t type, std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
  CudnnDescriptor descriptor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  descriptor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, type)
      .set<std::int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS, std::array{n, c, h, w})
      .set<std::int64_t>(CUDNN_ATTR_TENSOR_STRIDES, std::array{h * w * c, std::int64_t{1}, w * c, c})
      .set(CUDNN_ATTR_TENSOR_UNIQUE_ID, std::int64_t{id})
      .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, std::int64_t{alignment})
      .finalise();
  return descriptor;
}

/// What the precision does not allow. Inputs of lower precision than TF32 are never made: where fp32 is stored, TF32 is
/// what a tensor core then computes in.
std::vector<cudnnBackendNumericalNote_t> forbidden_notes(Precision precision) {
  std::vector<cudnnBackendNumericalNote_t> notes{CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC,
                                                 CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS,
                                                 CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION};
  if (precision == Precision::fp32) notes.push_back(CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
  return notes;
}

bool may_be_used(const CudnnDescriptor& engine, Precision precision) {
  std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
  const std::int64_t count =
      engine.get<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, std::span(notes));
  const auto end = notes.begin() + std::min(count, std::int64_t{notes.size()});
  const auto forbidden = forbidden_notes(precision);
  return std::find_first_of(notes.begin(), end, forbidden.begin(), forbidden.end()) == end;
}

std::vector<CudnnDescriptor> created(cudnnBackendDescriptorType_t type, std::int64_t count) {
  std::vector<CudnnDescriptor> descriptors;
  for (std::int64_t i = 0; i < count; ++i) descriptors.emplace_back(type);
  return descriptors;
}

std::vector<cudnnBackendDescriptor_t> pointers(const std::vector<CudnnDescriptor>& descriptors) {
  std::vector<cudnnBackendDescriptor_t> all;
  all.reserve(descriptors.size());
  for (const CudnnDescriptor& descriptor : descriptors) all.push_back(descriptor.get());
  return all;
}

ConvAlgorithm engine_of(const CudnnDescriptor& config) {
  const auto engine = created(CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1);
  auto engine_pointer = pointers(engine);
  config.get_descriptors(CUDNN_ATTR_ENGINECFG_ENGINE, engine_pointer);
  ConvAlgorithm result{.index = engine[0].get<std::int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX)};

  const auto choices = created(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, CUDNN_KNOB_TYPE_COUNTS);
  auto choice_pointers = pointers(choices);
  const std::int64_t count = config.get_descriptors(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, choice_pointers);
  for (std::size_t i = 0; i < std::min(choices.size(), static_cast<std::size_t>(count)); ++i) {
    const auto type = choices[i].get<cudnnBackendKnobType_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE);
    result.knobs[type] = choices[i].get<std::int64_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE);
  }
  return result;
}

std::size_t bytes_of(cudnnDataType_t type) { return type == CUDNN_DATA_BFLOAT16 ? sizeof(bf16) : sizeof(float); }

}  // namespace

cudnnDataType_t ConvProblem::operand_type() const {
  return precision == Precision::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

cudnnDataType_t ConvProblem::result_type() const {
  return operation == ConvOperation::backward_weights && !narrow ? CUDNN_DATA_FLOAT : operand_type();
}

std::size_t ConvProblem::result_size() const {
  switch (operation) {
    case ConvOperation::forward: return shape.output().size();
    case ConvOperation::backward_data: return shape.input().size();
    case ConvOperation::backward_weights: break;
  }
  return shape.weights();
}

ConvPlans::ConvPlans(cudaStream_t stream) {
  NEPENTHE_CHECK(cudnnCreate(&handle_));
  try {
    NEPENTHE_CHECK(cudnnSetStream(handle_, stream));
  } catch (...) {
    cudnnDestroy(handle_);
    throw;
  }
}

ConvPlans::~ConvPlans() {
  plans_.clear();
  cudnnDestroy(handle_);
}

void ConvPlans::use(const ConvAlgorithms& algorithms) {
  for (const auto& [text, algorithm] : algorithms) {
    const bool has_run = std::any_of(plans_.begin(), plans_.end(),
                                     [&text = text](const auto& entry) { return entry.second.key == text; });
    if (!has_run) algorithms_[text] = algorithm;
  }
}

void ConvPlans::run(CudaExec& exec, const ConvProblem& problem, void* result, const void* first, const void* second) {
  for (const void* operand : {static_cast<const void*>(result), first, second}) {
    if (reinterpret_cast<std::uintptr_t>(operand) % alignment != 0) {
      throw std::invalid_argument(fmt::format("[conv2d] an operand of \"{}\" is not aligned to {} bytes",
                                              key(problem, routes(problem).front()), alignment));
    }
  }
  const Operands operands{result, first, second};
  execute(exec, problem, plan(exec, problem, operands), operands);
}

const ConvPlans::Plan& ConvPlans::plan(CudaExec& exec, const ConvProblem& problem, const Operands& operands) {
  auto entry = plans_.find(problem);
  if (entry == plans_.end()) {
    entry = plans_.emplace(problem, make(exec, problem, operands)).first;
    algorithms_[entry->second.key] = entry->second.engine;
  }
  return entry->second;
}

ConvPlans::Plan ConvPlans::make(CudaExec& exec, const ConvProblem& problem, const Operands& operands) {
  for (const ConvRoute& route : routes(problem)) {
    const auto given = algorithms_.find(key(problem, route));
    if (given == algorithms_.end()) continue;
    try {
      return build(graph(problem, route), problem, route, given->second);
    } catch (const std::runtime_error& error) {
      throw std::runtime_error(
          fmt::format("[conv2d] the engine {} given for \"{}\" cannot be used here ({}); tune again, or run where "
                      "it was chosen: {}",
                      given->second.index, given->first, library(exec), error.what()));
    }
  }
  // Decided by the two sizes alone, and not by which of them came first: the bits hang on it.
  if (problem.shape.n < full_batch_ && !measures_) {
    ConvProblem whole = problem;
    whole.shape.n = full_batch_;
    const Plan& known = plan(exec, whole, operands);
    try {
      return build(graph(problem, known.route), problem, known.route, known.engine);
    } catch (const std::runtime_error&) {
      // It takes no batch of this size.
    }
  }
  std::string reason = "none is suggested";
  std::vector<Plan> plans = suggested(problem, reason);
  if (plans.empty()) {
    throw std::runtime_error(fmt::format("[conv2d] no deterministic engine for \"{}\" ({}): {}",
                                         key(problem, routes(problem).front()), library(exec), reason));
  }
  return measures_ ? fastest(exec, problem, std::move(plans), operands) : std::move(plans.front());
}

/// Plans of cuDNN's suggestions that may be used, best first: one, or all where they are measured. `reason` says why
/// the last of the others is not among them.
std::vector<ConvPlans::Plan> ConvPlans::suggested(const ConvProblem& problem, std::string& reason) const {
  std::vector<Plan> plans;
  for (const ConvRoute& route : routes(problem)) {
    try {
      const auto graph_of_route = graph(problem, route);
      for (const ConvAlgorithm& engine : candidates(*graph_of_route)) {
        try {
          plans.push_back(build(graph_of_route, problem, route, engine));
        } catch (const std::runtime_error& error) {
          reason = error.what();
        }
        if (!plans.empty() && !measures_) return plans;
      }
    } catch (const std::runtime_error& error) {
      reason = error.what();
    }
  }
  return plans;
}

std::shared_ptr<const ConvPlans::Graph> ConvPlans::graph(const ConvProblem& problem, const ConvRoute& route) const {
  const Conv2dShape& s = problem.shape;
  const Names& called = names(problem.operation);
  const cudnnDataType_t type = problem.operand_type();
  CudnnDescriptor x = tensor('x', type, s.n, s.c, s.h, s.w);
  CudnnDescriptor w = tensor('w', type, s.out_c, s.c, s.kernel, s.kernel);
  CudnnDescriptor y = tensor('y', type, s.n, s.out_c, s.out_h(), s.out_w());

  const std::array<std::int64_t, 2> ones{1, 1}, strides{s.stride, s.stride}, paddings{s.padding, s.padding};
  CudnnDescriptor convolution(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  convolution.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT)
      .set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION)
      .set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, std::int64_t{2})
      .set<std::int64_t>(CUDNN_ATTR_CONVOLUTION_DILATIONS, ones)
      .set<std::int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, strides)
      .set<std::int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, paddings)
      .set<std::int64_t>(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, paddings)
      .finalise();

  const bool adds = route.in_place && problem.accumulate == Accumulate::add;
  CudnnDescriptor operation(called.operation);
  operation.set(called.convolution, convolution)
      .set(called.x, x)
      .set(called.w, w)
      .set(called.y, y)
      .set(called.alpha, 1.0f)
      .set(called.beta, adds ? 1.0f : 0.0f)
      .finalise();

  auto result = std::make_shared<Graph>();
  result->graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, handle_).set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operation).finalise();
  for (CudnnDescriptor* part : {&x, &w, &y, &convolution, &operation}) result->parts.push_back(std::move(*part));
  return result;
}

/// The engines that cuDNN's heuristics suggest, best first.
std::vector<ConvAlgorithm> ConvPlans::candidates(const Graph& graph) const {
  std::vector<ConvAlgorithm> engines;
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    CudnnDescriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph.graph).set(CUDNN_ATTR_ENGINEHEUR_MODE, mode);
    // A mode that knows nothing for the graph fails here.
    if (cudnnBackendFinalize(heuristics.get()) != CUDNN_STATUS_SUCCESS) continue;
    const std::int64_t count = heuristics.get_descriptors(CUDNN_ATTR_ENGINEHEUR_RESULTS, {});
    const auto configs = created(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, count);
    auto config_pointers = pointers(configs);
    const std::int64_t returned = heuristics.get_descriptors(CUDNN_ATTR_ENGINEHEUR_RESULTS, config_pointers);
    for (std::int64_t i = 0; i < std::min(count, returned); ++i) {
      const ConvAlgorithm engine = engine_of(configs[static_cast<std::size_t>(i)]);
      if (std::find(engines.begin(), engines.end(), engine) == engines.end()) engines.push_back(engine);
    }
  }
  return engines;
}

/// From index and knobs alone, as a given engine is built. Throws std::runtime_error where that cannot be.
ConvPlans::Plan ConvPlans::build(std::shared_ptr<const Graph> graph, const ConvProblem& problem, const ConvRoute& route,
                                 const ConvAlgorithm& engine) const {
  Plan plan{.key = key(problem, route), .route = route, .engine = engine, .graph = std::move(graph)};
  CudnnDescriptor chosen(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  chosen.set(CUDNN_ATTR_ENGINE_OPERATION_GRAPH, plan.graph->graph)
      .set(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, engine.index)
      .finalise();
  if (!may_be_used(chosen, problem.precision)) {
    throw std::runtime_error(fmt::format("[conv2d] engine {} is not deterministic or not as exact as {}", engine.index,
                                         name(problem.precision)));
  }

  for (const auto& [type, value] : engine.knobs) {
    CudnnDescriptor& choice = plan.parts.emplace_back(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    choice.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, static_cast<cudnnBackendKnobType_t>(type))
        .set(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, value)
        .finalise();
  }
  CudnnDescriptor config(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  config.set(CUDNN_ATTR_ENGINECFG_ENGINE, chosen);
  if (!plan.parts.empty()) config.set_descriptors(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, pointers(plan.parts));
  config.finalise();

  plan.plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, handle_)
      .set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config)
      .finalise();
  plan.workspace = static_cast<std::size_t>(plan.plan.get<std::int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE));
  if (plan.workspace > most_workspace) {
    throw std::runtime_error(fmt::format("[conv2d] engine {} needs a workspace of {} bytes, {} at most", engine.index,
                                         plan.workspace, most_workspace));
  }
  plan.parts.push_back(std::move(chosen));
  plan.parts.push_back(std::move(config));
  return plan;
}

void ConvPlans::execute(CudaExec& exec, const ConvProblem& problem, const Plan& plan, const Operands& operands) const {
  const std::size_t size = problem.result_size();
  const std::size_t raw = plan.route.in_place ? 0 : size * bytes_of(problem.operand_type());
  const std::size_t scratch = (raw + 255) / 256 * 256, bytes = scratch + plan.workspace;
  auto* memory = bytes == 0 ? nullptr : static_cast<std::byte*>(exec.context().workspace(bytes));
  const Names& called = names(problem.operation);
  const std::array<std::int64_t, 3> ids{called.result, called.first, called.second};
  const std::array<void*, 3> places{plan.route.in_place ? operands.result : memory, const_cast<void*>(operands.first),
                                    const_cast<void*>(operands.second)};
  const std::array<void*, 1> workspace{plan.workspace == 0 ? nullptr : memory + scratch};
  CudnnDescriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set<std::int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, ids)
      .set_pointers(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, places)
      .set_pointers(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, workspace)
      .finalise();
  NEPENTHE_CHECK(cudnnBackendExecute(handle_, plan.plan.get(), pack.get()));

  if (plan.route.in_place) return;
  const void* written = memory;
  if (problem.result_type() == CUDNN_DATA_BFLOAT16) {
    add(exec, size, static_cast<bf16*>(operands.result), static_cast<const bf16*>(written));
  } else if (problem.operand_type() == CUDNN_DATA_BFLOAT16) {
    cast(exec, size, static_cast<float*>(operands.result), problem.accumulate, static_cast<const bf16*>(written));
  } else {
    add(exec, size, static_cast<float*>(operands.result), static_cast<const float*>(written));
  }
}

/// Time of one run, without the host's part in it: the median of several captured groups.
float ConvPlans::milliseconds(CudaExec& exec, const ConvProblem& problem, const Plan& plan,
                              const Operands& operands) const {
  constexpr int warm_up = 2, group = 10, groups = 5;
  const auto run = [&] { execute(exec, problem, plan, operands); };
  for (int i = 0; i < warm_up; ++i) run();
  const auto captured = capture(exec, [&] {
    for (int i = 0; i < group; ++i) run();
  });
  const Stopwatch stopwatch(exec.context().stream);
  std::array<float, groups> times;
  for (float& time : times) time = stopwatch.milliseconds([&] { captured->replay(); }) / group;
  std::nth_element(times.begin(), times.begin() + groups / 2, times.end());
  return times[groups / 2];
}

ConvPlans::Plan ConvPlans::fastest(CudaExec& exec, const ConvProblem& problem, std::vector<Plan> plans,
                                   const Operands& operands) const {
  constexpr float clearly = 0.98f;  // below this share of the best one's time: noise is no reason to change
  std::size_t best = 0;
  float best_time = std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < plans.size(); ++i) {
    try {
      const float time = milliseconds(exec, problem, plans[i], operands);
      if (time < clearly * best_time) {
        best = i;
        best_time = time;
      }
    } catch (const std::bad_alloc&) {
    } catch (const std::runtime_error&) {
      // It cannot be run or captured here. If none can, the first one's run will say why.
    }
  }
  return std::move(plans[best]);
}

}  // namespace nepenthe::kernels
