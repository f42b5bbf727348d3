#include "kernels/cpu/onednn.h"

#include <stdexcept>

#include <fmt/core.h>
#include <omp.h>

#include "kernels/cpu/onednn_version.h"
#include "kernels/layout.h"
#include "kernels/libraries.h"

namespace nepenthe::kernels {
namespace {

using dnnl::algorithm;
using dnnl::memory;

constexpr auto f32 = memory::data_type::f32;

memory::format_tag activation_format(const CpuExec& exec, int channels) {
  switch (channel_block(exec, channels)) {
    case 16: return memory::format_tag::nChw16c;
    case 8: return memory::format_tag::nChw8c;
    default: return memory::format_tag::nchw;
  }
}

ConvDescription description(const CpuExec& exec, const Conv2dShape& s) {
  return {.input = {{s.n, s.c, s.h, s.w}, f32, activation_format(exec, s.c)},
          .weights = {{s.out_c, s.c, s.kernel, s.kernel}, f32, memory::format_tag::any},
          .output = {{s.n, s.out_c, s.out_h(), s.out_w()}, f32, activation_format(exec, s.out_c)},
          .strides = {s.stride, s.stride},
          .padding_before = {s.padding, s.padding},
          .padding_after = {s.padding, s.padding}};
}

/// Winograd's algorithm saves most of the work of a 3 × 3 kernel where the channels fill the vectors often enough.
bool suits_winograd(const CpuExec& exec, const Conv2dShape& s) {
  return exec.isa() == Isa::v4 && s.kernel == 3 && s.stride == 1 && s.c >= 32 && s.out_c >= 32 && s.c % 16 == 0 &&
         s.out_c % 16 == 0;
}

std::size_t aligned_floats(const memory::desc& desc) { return (desc.get_size() / sizeof(float) + 16) / 16 * 16; }

template <class Primitive, class Descriptor>
void adopt(ConvPlan& plan, const Descriptor& descriptor, const memory::desc& weights) {
  plan.primitive = Primitive(descriptor);
  plan.weights = weights;
  plan.weights_floats = aligned_floats(weights);
  plan.scratchpad_floats = aligned_floats(descriptor.scratchpad_desc());
  plan.implementation = descriptor.impl_info_str();
}

void make_primitive(ConvPlan& plan, const dnnl::engine& engine, ConvKind kind, const ConvDescription& d,
                    algorithm method) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const auto forward = forward_descriptor(engine, method, d, attributes);
  switch (kind) {
    case ConvKind::forward: return adopt<dnnl::convolution_forward>(plan, forward, forward.weights_desc());
    case ConvKind::backward_data: {
      using Backward = dnnl::convolution_backward_data;
      const auto backward = backward_descriptor<Backward>(engine, method, d, attributes, forward);
      return adopt<Backward>(plan, backward, backward.weights_desc());
    }
    case ConvKind::backward_weights: {
      using Backward = dnnl::convolution_backward_weights;
      const auto backward = backward_descriptor<Backward>(engine, method, d, attributes, forward);
      return adopt<Backward>(plan, backward, backward.diff_weights_desc());
    }
  }
}

/// False where the library has no Winograd's algorithm for it.
bool make_winograd_primitive(ConvPlan& plan, const dnnl::engine& engine, ConvKind kind, const ConvDescription& d) {
  try {
    make_primitive(plan, engine, kind, d, algorithm::convolution_winograd);
    return true;
  } catch (const dnnl::error& error) {
    if (error.status != dnnl_unimplemented) throw;
    return false;
  }
}

ConvPlan make_plan(const CpuExec& exec, const dnnl::engine& engine, ConvKind kind, const Conv2dShape& shape) {
  // oneDNN plans for as many threads as OpenMP would give it here. The plans are for one, whoever calls.
  omp_set_num_threads(1);
  ConvPlan plan;
  const ConvDescription d = description(exec, shape);
  if (!suits_winograd(exec, shape) || !make_winograd_primitive(plan, engine, kind, d)) {
    make_primitive(plan, engine, kind, d, algorithm::convolution_direct);
  }

  const memory::desc plain({shape.out_c, shape.c, shape.kernel, shape.kernel}, f32, memory::format_tag::ohwi);
  plan.plain = memory(plain, engine, nullptr);
  plan.formatted = memory(plan.weights, engine, nullptr);
  plan.reorder = kind == ConvKind::backward_weights ? dnnl::reorder(plan.formatted, plan.plain)
                                                    : dnnl::reorder(plan.plain, plan.formatted);
  const memory::desc scratchpad({static_cast<memory::dim>(plan.scratchpad_floats)}, f32, memory::format_tag::a);
  for (int thread = 0; thread < exec.threads(); ++thread) {
    plan.operands.push_back({.input = memory(d.input, engine, nullptr),
                             .weights = memory(plan.weights, engine, nullptr),
                             .output = memory(d.output, engine, nullptr),
                             .scratchpad = memory(scratchpad, engine, nullptr)});
  }
  return plan;
}

}  // namespace

void ConvPlan::execute(ConvKind kind, dnnl::stream& stream, int thread, const float* input, const float* weights_memory,
                       const float* output, float* scratchpad) {
  Operands& memories = operands[static_cast<std::size_t>(thread)];
  // oneDNN knows no const memory; which operand is written follows from the kind.
  memories.input.set_data_handle(const_cast<float*>(input));
  memories.weights.set_data_handle(const_cast<float*>(weights_memory));
  memories.output.set_data_handle(const_cast<float*>(output));
  memories.scratchpad.set_data_handle(scratchpad);
  const bool dw = kind == ConvKind::backward_weights, dx = kind == ConvKind::backward_data;
  const bool forward = kind == ConvKind::forward;
  const dnnl_exec_arg_t arguments[] = {
      {dx ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, memories.input.get()},
      {dw ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, memories.weights.get()},
      {forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, memories.output.get()},
      {DNNL_ARG_SCRATCHPAD, memories.scratchpad.get()},
  };
  dnnl::error::wrap_c_api(dnnl_primitive_execute(primitive.get(), stream.get(), 4, arguments),
                          "could not execute a convolution");
}

OneDnn::OneDnn(int threads) : engine(dnnl::engine::kind::cpu, 0) {
  for (int thread = 0; thread < threads; ++thread) streams.emplace_back(engine);
}

ConvPlan& OneDnn::plan(const CpuExec& exec, ConvKind kind, const Conv2dShape& shape) {
  const std::pair key(kind, shape);
  if (const auto found = plans.find(key); found != plans.end()) return found->second;
  return plans.emplace(key, make_plan(exec, engine, kind, shape)).first->second;
}

std::string onednn_version() {
  const dnnl_version_t* version = dnnl_version();
  return fmt::format("{}.{}.{}", version->major, version->minor, version->patch);
}

std::string onednn_convolutions(CpuExec& exec) {
  // The second stage of CIFAR's ResNets.
  const Conv2dShape shape{.n = 8, .h = 16, .w = 16, .c = 32, .out_c = 32, .kernel = 3, .stride = 1, .padding = 1};
  std::string methods = "direct convolutions";
  if (suits_winograd(exec, shape)) {
    const std::string& name = exec.onednn().plan(exec, ConvKind::forward, shape).implementation;
    methods += name.find("wino") != std::string::npos ? " and Winograd's" : "; Winograd's algorithm is not offered";
  }
  return fmt::format("oneDNN {}: {}", onednn_version(), methods);
}

}  // namespace nepenthe::kernels
