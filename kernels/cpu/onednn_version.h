// What differs between oneDNN 2 and 3, and no other file knows.
#pragma once

#include <oneapi/dnnl/dnnl.hpp>

namespace nepenthe::kernels {

/// A convolution in oneDNN's terms. Weights in the format `any` are left to the primitive.
struct ConvDescription {
  dnnl::memory::desc input, weights, output;
  dnnl::memory::dims strides, padding_before, padding_after;
};

/// Both throw dnnl::error with dnnl_unimplemented where the library has no such convolution by this algorithm.
inline dnnl::convolution_forward::primitive_desc forward_descriptor(const dnnl::engine& engine,
                                                                    dnnl::algorithm algorithm, const ConvDescription& d,
                                                                    const dnnl::primitive_attr& attributes) {
  constexpr auto training = dnnl::prop_kind::forward_training;
#if DNNL_VERSION_MAJOR >= 3
  return {engine,   training,  algorithm,        d.input,         d.weights,
          d.output, d.strides, d.padding_before, d.padding_after, attributes};
#else
  return {{training, algorithm, d.input, d.weights, d.output, d.strides, d.padding_before, d.padding_after},
          attributes,
          engine};
#endif
}

/// `Backward` is dnnl::convolution_backward_data or dnnl::convolution_backward_weights.
template <class Backward>
typename Backward::primitive_desc backward_descriptor(const dnnl::engine& engine, dnnl::algorithm algorithm,
                                                      const ConvDescription& d, const dnnl::primitive_attr& attributes,
                                                      const dnnl::convolution_forward::primitive_desc& forward) {
#if DNNL_VERSION_MAJOR >= 3
  return {engine,    algorithm,        d.input,         d.weights, d.output,
          d.strides, d.padding_before, d.padding_after, forward,   attributes};
#else
  return {{algorithm, d.input, d.weights, d.output, d.strides, d.padding_before, d.padding_after},
          attributes,
          engine,
          forward};
#endif
}

}  // namespace nepenthe::kernels

#if DNNL_VERSION_MAJOR >= 3 && defined(__SANITIZE_ADDRESS__)
/// oneDNN 3.6 itself loses some bytes there; LeakSanitizer asks what it is not to report.
extern "C" inline __attribute__((used)) const char* __lsan_default_suppressions() {
  return "leak:dnnl_convolution_backward_data_primitive_desc_create";
}
#endif
