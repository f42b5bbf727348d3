// Residual networks of basic blocks in double, out of the scalar references: forward, hand-written backward, running
// statistics and SGD with Nesterov's momentum. Proven against PyTorch's float64, and then the truth for the fp32
// backends.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "reference/batch_norm.h"
#include "reference/conv2d.h"
#include "reference/linear.h"
#include "reference/pool.h"
#include "reference/softmax_cross_entropy.h"

namespace nepenthe::reference {

using Vector = std::vector<double>;

/// The sums of conv2d.h in another order, so that the inner loops run over neighbours, and on all cores: a whole
/// network asks for 15 billion products. Every output is summed by one thread in a fixed order.
namespace fast {

/// Calls tap(input pixel, output pixel, filter tap) for those of output row p of image n.
template <class Tap>
void taps_of_row(const kernels::Conv2dShape& s, int n, int p, Tap&& tap) {
  for (int r = 0; r < s.kernel; ++r) {
    const int h = p * s.stride + r - s.padding;
    if (h < 0 || h >= s.h) continue;
    for (int q = 0; q < s.out_w(); ++q) {
      for (int t = 0; t < s.kernel; ++t) {
        const int w = q * s.stride + t - s.padding;
        if (w < 0 || w >= s.w) continue;
        tap((std::size_t(n) * s.h + h) * s.w + w, (std::size_t(n) * s.out_h() + p) * s.out_w() + q,
            std::size_t(r) * s.kernel + t);
      }
    }
  }
}

/// y (count) += factor · x (count)
inline void add_scaled(std::size_t count, double* __restrict y, double factor, const double* __restrict x) {
  for (std::size_t i = 0; i < count; ++i) y[i] += factor * x[i];
}

/// body(i) for i in [0, count), on all processors.
template <class Body>
void in_parallel(int count, const Body& body) {
  const int threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  std::vector<std::jthread> team;
  for (int thread = 0; thread < threads; ++thread) {
    team.emplace_back([=, &body] {
      for (int i = thread; i < count; i += threads) body(i);
    });
  }
}

inline Vector conv2d_forward(const kernels::Conv2dShape& s, const Vector& x, const Vector& w) {
  const std::size_t in = s.c, out = s.out_c, taps = std::size_t(s.kernel) * s.kernel;
  Vector turned(w.size());  // (R, S, C, K)
  for (std::size_t k = 0; k < out; ++k) {
    for (std::size_t i = 0; i < taps * in; ++i) turned[i * out + k] = w[k * taps * in + i];
  }
  Vector y(s.output().size());
  in_parallel(s.n * s.out_h(), [&](int row) {
    taps_of_row(s, row / s.out_h(), row % s.out_h(), [&](std::size_t from, std::size_t to, std::size_t tap) {
      for (std::size_t c = 0; c < in; ++c) {
        add_scaled(out, &y[to * out], x[from * in + c], &turned[(tap * in + c) * out]);
      }
    });
  });
  return y;
}

inline Vector conv2d_backward_data(const kernels::Conv2dShape& s, const Vector& dy, const Vector& w) {
  const std::size_t in = s.c, out = s.out_c, taps = std::size_t(s.kernel) * s.kernel;
  Vector dx(s.input().size());
  in_parallel(s.n, [&](int n) {
    for (int p = 0; p < s.out_h(); ++p) {
      taps_of_row(s, n, p, [&](std::size_t to, std::size_t from, std::size_t tap) {
        for (std::size_t k = 0; k < out; ++k) {
          add_scaled(in, &dx[to * in], dy[from * out + k], &w[(k * taps + tap) * in]);
        }
      });
    }
  });
  return dx;
}

inline Vector conv2d_backward_weights(const kernels::Conv2dShape& s, const Vector& dy, const Vector& x) {
  const std::size_t in = s.c, out = s.out_c, taps = std::size_t(s.kernel) * s.kernel;
  Vector dw(s.weights());
  in_parallel(s.out_c, [&](int k) {
    for (int row = 0; row < s.n * s.out_h(); ++row) {
      taps_of_row(s, row / s.out_h(), row % s.out_h(), [&](std::size_t from, std::size_t at_y, std::size_t tap) {
        add_scaled(in, &dw[(std::size_t(k) * taps + tap) * in], dy[at_y * out + std::size_t(k)], &x[from * in]);
      });
    }
  });
  return dw;
}

}  // namespace fast

/// A trainable tensor under PyTorch's name and shape; filters lie as (K, R, S, C).
struct Parameter {
  std::string name;
  std::vector<std::int64_t> shape;
  Vector value, grad, velocity;

  Parameter(std::string its_name, std::vector<std::int64_t> its_shape)
      : name(std::move(its_name)), shape(std::move(its_shape)) {
    std::size_t size = 1;
    for (const std::int64_t side : shape) size *= static_cast<std::size_t>(side);
    value.resize(size);
  }
};

/// A running statistic.
struct Buffer {
  std::string name;
  Vector value;
};

/// relu?(norm(conv(x)) [+ residual]), with what its backward needs.
class ConvNorm {
 public:
  ConvNorm(const std::string& conv, const std::string& norm, int in, int out, int kernel, int stride)
      : weight(conv + ".weight", {out, in, kernel, kernel}),
        gamma(norm + ".weight", {out}),
        beta(norm + ".bias", {out}),
        mean{norm + ".running_mean", Vector(static_cast<std::size_t>(out), 0.0)},
        var{norm + ".running_var", Vector(static_cast<std::size_t>(out), 1.0)},
        shape_{
            .n = 0, .h = 0, .w = 0, .c = in, .out_c = out, .kernel = kernel, .stride = stride, .padding = kernel / 2} {}

  /// Takes the input's n and side from `input`, and leaves the output's there.
  Vector forward(kernels::ImageShape& input, const Vector& x, const Vector* residual, bool relu, bool training) {
    shape_.n = input.n, shape_.h = input.h, shape_.w = input.w;
    input = shape_.output();
    norm_ = {.image = input, .add = residual != nullptr, .relu = relu};
    x_ = x;
    hidden_ = fast::conv2d_forward(shape_, x, weight.value);
    const Vector none;
    if (!training) {
      Vector rstd;
      for (const double v : var.value) rstd.push_back(1 / std::sqrt(v + double{norm_.eps}));
      return batch_norm_apply(norm_, hidden_, residual ? *residual : none, gamma.value, beta.value, mean.value, rstd);
    }
    out_ = batch_norm_forward(norm_, hidden_, residual ? *residual : none, gamma.value, beta.value);
    const double count = double(input.n) * input.h * input.w;
    for (std::size_t c = 0; c < var.value.size(); ++c) {  // momentum 0.1, not the float of BatchNormShape
      mean.value[c] = 0.9 * mean.value[c] + 0.1 * out_.mean[c];
      var.value[c] = 0.9 * var.value[c] + 0.1 * out_.var[c] * (count / (count - 1));
    }
    return out_.y;
  }

  /// The gradient of x (empty unless `data`); dresidual receives the residual's, if there was one.
  Vector backward(const Vector& dy, bool data, Vector* dresidual = nullptr) {
    auto g = batch_norm_backward(norm_, dy, hidden_, out_.y, gamma.value, out_.mean, out_.rstd);
    gamma.grad = std::move(g.dgamma);
    beta.grad = std::move(g.dbeta);
    if (dresidual != nullptr) *dresidual = std::move(g.dresidual);
    weight.grad = fast::conv2d_backward_weights(shape_, g.dx, x_);
    return data ? fast::conv2d_backward_data(shape_, g.dx, weight.value) : Vector();
  }

  Parameter weight, gamma, beta;
  Buffer mean, var;

 private:
  kernels::Conv2dShape shape_;
  kernels::BatchNormShape norm_{};
  Vector x_, hidden_;
  BatchNormOutputs<double> out_;
};

/// relu(norm(conv(relu(norm(conv(x))))) + shortcut(x))
struct BasicBlock {
  std::vector<ConvNorm> units;  // two, and a third for the shortcut where the shape changes

  BasicBlock(const std::string& name, int in, int out, int stride) {
    units.emplace_back(name + ".conv1", name + ".bn1", in, out, 3, stride);
    units.emplace_back(name + ".conv2", name + ".bn2", out, out, 3, 1);
    if (in != out) units.emplace_back(name + ".downsample.0", name + ".downsample.1", in, out, 1, stride);
  }
  Vector forward(kernels::ImageShape& shape, const Vector& x, bool training) {
    kernels::ImageShape skip_shape = shape;
    const Vector skip = units.size() == 3 ? units[2].forward(skip_shape, x, nullptr, false, training) : x;
    const Vector hidden = units[0].forward(shape, x, nullptr, true, training);
    return units[1].forward(shape, hidden, &skip, true, training);
  }
  Vector backward(const Vector& dy) {
    Vector dskip;
    const Vector dhidden = units[1].backward(dy, true, &dskip);
    Vector dx = units[0].backward(dhidden, true);
    if (units.size() == 3) dskip = units[2].backward(dskip, true);
    for (std::size_t i = 0; i < dx.size(); ++i) dx[i] += dskip[i];
    return dx;
  }
};

/// What one residual network has and another has not.
struct ResNetPlan {
  int channels;             // of the stem and the first stage; each later stage has twice as many
  int stem_kernel;          // 7: of stride 2, and a max pooling of 3×3 and stride 2 behind it
  std::vector<int> blocks;  // of each stage
};
inline ResNetPlan resnet_cifar(int depth) { return {16, 3, std::vector<int>(3, (depth - 2) / 6)}; }
inline ResNetPlan resnet34() { return {64, 7, {3, 4, 6, 3}}; }

class ResNet {
 public:
  ResNet(const ResNetPlan& plan, int classes)
      : features_(plan.channels << (plan.blocks.size() - 1)),
        classes_(classes),
        pools_(plan.stem_kernel == 7),
        stem_("conv1", "bn1", 3, plan.channels, plan.stem_kernel, pools_ ? 2 : 1),
        fc_weight_("fc.weight", {classes, features_}),
        fc_bias_("fc.bias", {classes}) {
    int in = plan.channels;
    for (std::size_t stage = 0; stage < plan.blocks.size(); ++stage) {
      const int out = plan.channels << stage;
      for (int i = 0; i < plan.blocks[stage]; ++i) {
        const std::string name = "layer" + std::to_string(stage + 1) + "." + std::to_string(i);
        blocks_.emplace_back(name, in, out, stage > 0 && i == 0 ? 2 : 1);
        in = out;
      }
    }
  }

  /// Logits (N, classes) of images (N, H, W, 3).
  Vector forward(const kernels::ImageShape& images, const Vector& x, bool training) {
    kernels::ImageShape shape = images;
    Vector y = stem_.forward(shape, x, nullptr, true, training);
    if (pools_) {
      pool_ = {.n = shape.n, .h = shape.h, .w = shape.w, .c = shape.c, .kernel = 3, .stride = 2, .padding = 1};
      shape = pool_.output();
      unpooled_ = std::move(y);
      y = max_pool_forward(pool_, unpooled_);
    }
    for (BasicBlock& block : blocks_) y = block.forward(shape, y, training);
    last_ = shape;
    pooled_ = global_avg_pool_forward(shape, y);
    return linear_forward({.rows = shape.n, .in = features_, .out = classes_}, pooled_, fc_weight_.value,
                          fc_bias_.value);
  }

  /// The gradients of all parameters, out of those of the last forward's logits.
  void backward(const Vector& dlogits) {
    const kernels::LinearShape fc{.rows = last_.n, .in = features_, .out = classes_};
    auto g = linear_backward_weights(fc, dlogits, pooled_);
    fc_weight_.grad = std::move(g.dw);
    fc_bias_.grad = std::move(g.db);
    Vector dy = global_avg_pool_backward(last_, linear_backward_data(fc, dlogits, fc_weight_.value));
    for (std::size_t i = blocks_.size(); i-- > 0;) dy = blocks_[i].backward(dy);
    if (pools_) dy = max_pool_backward(pool_, unpooled_, dy);
    stem_.backward(dy, false);
  }

  /// Mean cross entropy in training mode, and its gradients.
  double loss_and_gradients(const kernels::ImageShape& images, const Vector& x,
                            const std::vector<std::int32_t>& labels) {
    const kernels::LogitsShape shape{.rows = images.n, .classes = classes_};
    const Vector logits = forward(images, x, true);
    double loss = 0;
    for (const double each : softmax_cross_entropy_forward(shape, logits, labels)) loss += each / images.n;
    backward(softmax_cross_entropy_backward(shape, logits, labels, 1.0 / images.n));
    return loss;
  }

  /// SGD with Nesterov's momentum (PyTorch's), on the gradients that are there.
  void step(double lr, double momentum, double weight_decay) {
    for (Parameter* p : parameters()) {
      const bool first = p->velocity.empty();
      p->velocity.resize(p->value.size());
      for (std::size_t i = 0; i < p->value.size(); ++i) {
        const double g = p->grad[i] + weight_decay * p->value[i];
        p->velocity[i] = first ? g : momentum * p->velocity[i] + g;
        p->value[i] -= lr * (g + momentum * p->velocity[i]);
      }
    }
  }

  /// In PyTorch's order.
  std::vector<Parameter*> parameters() {
    std::vector<Parameter*> all;
    for (ConvNorm* unit : units()) all.insert(all.end(), {&unit->weight, &unit->gamma, &unit->beta});
    all.insert(all.end(), {&fc_weight_, &fc_bias_});
    return all;
  }
  std::vector<Buffer*> buffers() {
    std::vector<Buffer*> all;
    for (ConvNorm* unit : units()) all.insert(all.end(), {&unit->mean, &unit->var});
    return all;
  }

 private:
  std::vector<ConvNorm*> units() {
    std::vector<ConvNorm*> all{&stem_};
    for (BasicBlock& block : blocks_) {
      for (ConvNorm& unit : block.units) all.push_back(&unit);
    }
    return all;
  }

  int features_, classes_;
  bool pools_;
  ConvNorm stem_;
  std::vector<BasicBlock> blocks_;
  Parameter fc_weight_, fc_bias_;
  kernels::PoolShape pool_{};
  Vector unpooled_;
  kernels::ImageShape last_{};  // in front of the average pooling
  Vector pooled_;
};

}  // namespace nepenthe::reference
