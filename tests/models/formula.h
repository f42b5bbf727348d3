// The formula of golden/parts/networks.py: weights, inputs and labels of whole networks that no file has to hold.
#pragma once

#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "golden.h"
#include "reference/resnet.h"

namespace nepenthe::tests {

/// splitmix64 of tensor·2^32 + i (Steele, Lea and Flood 2014).
inline std::uint64_t mix(std::uint64_t tensor, std::uint64_t i) {
  std::uint64_t z = (tensor << 32) + i + 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

/// In [−1, 1).
inline double signed_unit(std::uint64_t tensor, std::uint64_t i) {
  return 2 * (static_cast<double>(mix(tensor, i) >> 11) * 0x1.0p-53) - 1;
}

/// The inputs and labels of step s.
struct FormulaBatch {
  ImageShape shape;
  std::vector<double> images;  // (N, H, W, C)
  std::vector<std::int32_t> labels;
};

inline FormulaBatch formula_batch(std::uint64_t step, int count, int side) {
  FormulaBatch batch{.shape = {count, side, side, 3}, .images = {}, .labels = {}};
  std::vector<double> planar(batch.shape.size());
  for (std::size_t i = 0; i < planar.size(); ++i) {
    planar[i] = static_cast<float>(std::sqrt(3.0) * signed_unit(1000 + step, i));
  }
  batch.images = channels_last(batch.shape, planar);
  for (std::uint64_t j = 0; j < std::uint64_t(count); ++j) {
    batch.labels.push_back(static_cast<std::int32_t>(mix(2000 + step, j) % 100));
  }
  return batch;
}

/// A reference tensor's elements in PyTorch's order: filters lie as (K, R, S, C) here and as (K, C, R, S) there.
inline std::vector<double> torch_order(const reference::Parameter& p, const std::vector<double>& elements) {
  if (p.shape.size() != 4) return elements;
  const auto s = [&](std::size_t i) { return static_cast<int>(p.shape[i]); };
  return channels_first(ImageShape{s(0), s(2), s(3), s(1)}, elements);
}

inline std::vector<double> formula_weights(const reference::Parameter& p, std::uint64_t index) {
  std::vector<double> value(p.value.size());
  const bool filter = p.shape.size() == 4;
  double bound = 0.1, base = 0;
  if (filter) {
    bound = std::sqrt(3.0) * std::sqrt(2.0 / static_cast<double>(p.shape[2] * p.shape[2] * p.shape[0]));
  } else if (p.name.starts_with("fc.")) {
    bound = 0.125;
  } else if (p.name.ends_with("weight")) {
    base = 1;
  }
  for (std::size_t i = 0; i < value.size(); ++i) {
    value[i] = static_cast<float>(signed_unit(index, i) * bound + base);
  }
  if (!filter) return value;
  const auto s = [&](std::size_t i) { return static_cast<int>(p.shape[i]); };
  return channels_last(ImageShape{s(0), s(2), s(3), s(1)}, value);
}

/// The reference network with the formula's weights.
inline reference::ResNet formula_network(const reference::ResNetPlan& plan) {
  reference::ResNet network(plan, 100);
  std::uint64_t index = 0;
  for (reference::Parameter* p : network.parameters()) p->value = formula_weights(*p, index++);
  return network;
}

/// The reference network's state under PyTorch's names.
inline StateDict state_of(reference::ResNet& network) {
  StateDict state;
  for (const reference::Parameter* p : network.parameters()) {
    state.add(p->name, HostTensor::from(p->shape, narrowed(torch_order(*p, p->value))));
  }
  for (const reference::Buffer* b : network.buffers()) {
    state.add(b->name, HostTensor::from({static_cast<std::int64_t>(b->value.size())}, narrowed(b->value)));
  }
  return state;
}

}  // namespace nepenthe::tests
