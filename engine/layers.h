// Layers: an op together with its tensors in a model's Parameters. A model is a struct of layers built over one layout.
#pragma once

#include <cstdint>
#include <string>

#include "engine/ops/fused_conv2d.h"
#include "engine/ops/linear.h"
#include "engine/parameters.h"

namespace nepenthe {

class BatchNorm2d;

/// `weight`: (K, C, R, S) in PyTorch's order, no bias.
class Conv2d {
 public:
  Conv2d(ParameterLayout& layout, const std::string& name, int in, int out, int kernel, int stride);
  Variable operator()(Pass& pass, Parameters& parameters, const Variable& x) const {
    return ops::conv2d(pass, x, parameters, tensors_);
  }
  /// Of relu(norm(x)).
  Variable operator()(Pass& pass, Parameters& parameters, const BatchNorm2d& norm, const Variable& x) const;
  /// Multiply-adds of one image whose input has the side `side`, which becomes the output's.
  std::int64_t multiply_adds(int& side) const;
  const ops::Conv2dParameters& tensors() const { return tensors_; }

 private:
  int in_;
  ops::Conv2dParameters tensors_;
};

/// `weight`, `bias`, `running_mean`, `running_var`: (C).
class BatchNorm2d {
 public:
  BatchNorm2d(ParameterLayout& layout, const std::string& name, int channels);
  /// relu?(norm(x) [+ residual])
  Variable operator()(Pass& pass, Parameters& parameters, const Variable& x, bool relu,
                      const Variable& residual = nullptr) const {
    return ops::batch_norm(pass, x, residual, parameters, tensors_, relu);
  }
  /// Of conv(x).
  Variable operator()(Pass& pass, Parameters& parameters, const Conv2d& conv, const Variable& x, bool relu,
                      const Variable& residual = nullptr) const {
    return ops::conv2d_norm(pass, x, residual, parameters, conv.tensors(), tensors_, relu);
  }
  const ops::BatchNormParameters& tensors() const { return tensors_; }

 private:
  ops::BatchNormParameters tensors_;
};

inline Variable Conv2d::operator()(Pass& pass, Parameters& parameters, const BatchNorm2d& norm,
                                   const Variable& x) const {
  return ops::norm_conv2d(pass, x, parameters, norm.tensors(), tensors_);
}

/// `weight` (out, in), `bias` (out).
class Linear {
 public:
  Linear(ParameterLayout& layout, const std::string& name, int in, int out, ParameterGroup group);
  Variable operator()(Pass& pass, Parameters& parameters, const Variable& x) const {
    return ops::linear(pass, x, parameters, weight_, bias_, out_);
  }
  std::int64_t multiply_adds() const { return std::int64_t{in_} * out_; }

 private:
  int in_, out_;
  int weight_, bias_;
};

}  // namespace nepenthe
