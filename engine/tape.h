// Reverse-mode automatic differentiation over a tape. Each op computes its value at once and, when a tape records,
// leaves a closure that turns the gradient of its output into gradients of its inputs. backward() runs the closures
// from the last to the first and drops each when it is done, so that what it kept is free for what comes next.
#pragma once

#include <functional>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "engine/tensor.h"

namespace nepenthe {

struct Node {
  Tensor value;
  Tensor grad;             // empty until the backward pass reaches it
  bool needs_grad = true;  // false for inputs
};

/// A value in the graph, shared between the ops that use it.
using Variable = std::shared_ptr<Node>;

inline Variable make_variable(Tensor value, bool needs_grad = true) {
  return std::make_shared<Node>(Node{.value = std::move(value), .grad = {}, .needs_grad = needs_grad});
}

class Tape {
 public:
  void push(std::function<void()> backward) { steps_.push_back(std::move(backward)); }

  /// Runs and drops everything recorded, last first.
  void backward() {
    while (!steps_.empty()) {
      steps_.back()();
      steps_.pop_back();
    }
  }

 private:
  std::vector<std::function<void()>> steps_;
};

/// What an op needs to run: where, whether in training mode, and the tape, if one records.
struct Pass {
  Device& device;
  bool training = false;
  Tape* tape = nullptr;
};

/// Where an op's backward writes the gradient of an input: memory, and whether a gradient is already there to add to.
struct GradientSlot {
  Tensor tensor;
  kernels::Accumulate accumulate;
};

inline GradientSlot gradient_slot(Device& device, Node& node) {
  if (node.grad) return {node.grad, kernels::Accumulate::add};
  node.grad = Tensor(device, node.value.shape(), node.value.type());
  return {node.grad, kernels::Accumulate::assign};
}

/// The gradient memory of an input whose op can only assign; a second use of that input is a mistake in the model.
inline Tensor sole_gradient(Device& device, Node& node) {
  const GradientSlot slot = gradient_slot(device, node);
  if (slot.accumulate == kernels::Accumulate::add)
    throw std::logic_error("[tape] a second gradient for an input used once");
  return slot.tensor;
}

}  // namespace nepenthe
