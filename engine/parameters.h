// The state of a model: parameters and gradients each in one flat buffer, running statistics in a third, so that an
// optimiser is one launch, and several models at a constant stride are one more index.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/philox.h"
#include "engine/device.h"
#include "engine/formats/host_tensor.h"
#include "engine/tape.h"

namespace nepenthe {

/// How a tensor of the state is initialised, and (for filters) laid out.
enum class Role { conv_weight, norm_weight, norm_bias, linear_weight, linear_bias, running_mean, running_var };

/// One named tensor of the state. `shape` is PyTorch's; filters lie in memory as (K, R, S, C) where PyTorch's order is
/// (K, C, R, S). `offset` counts floats, in the parameter buffer or (running_*) in the statistics buffer.
struct ParameterSpec {
  std::string name;
  Role role;
  std::vector<std::int64_t> shape;
  std::int64_t fan_in;  // of linear layers, for the initialisation
  std::size_t offset;
  std::size_t size;
};

/// Where each tensor stands; the same for every model of an architecture. Each tensor starts at a multiple of 16
/// floats; what lies between stays zero.
class ParameterLayout {
 public:
  /// Adds a tensor and returns its index in specs().
  int add(std::string name, Role role, std::vector<std::int64_t> shape, std::int64_t fan_in = 0);

  const std::vector<ParameterSpec>& specs() const { return specs_; }
  std::size_t parameter_floats() const { return parameter_floats_; }
  std::size_t statistic_floats() const { return statistic_floats_; }
  /// Trainable numbers, without padding.
  std::int64_t parameter_count() const;

 private:
  std::vector<ParameterSpec> specs_;
  std::size_t parameter_floats_ = 0;
  std::size_t statistic_floats_ = 0;
};

/// Where an op's backward writes the gradient of a parameter, and whether one is already there to add to.
struct ParameterGradient {
  float* data;
  kernels::Accumulate accumulate;
};

/// The buffers of one model.
class Parameters {
 public:
  Parameters(Device& device, ParameterLayout layout);

  const ParameterLayout& layout() const { return layout_; }
  Device& device() const { return *device_; }
  float* values() const { return values_.data(); }
  float* gradients() const { return gradients_.data(); }
  float* statistics() const { return statistics_.data(); }

  /// The tensor with this index of specs(), of the parameters or the statistics.
  float* value(int index) const;
  /// The same parameter as convolutions read it, T being the activations' type: bf16 is a rounded copy.
  template <class T>
  const T* filters(int index) const;
  /// Its gradient, for one writer of this step: the first assigns, later ones add.
  ParameterGradient gradient(int index);
  /// Before a forward pass: makes the rounded copy anew, where there is one, and forgets which gradients are written.
  void begin_pass();

  /// Kaiming normal (fan out) for convolutions, PyTorch's uniform for linear layers, 1 and 0 for norms and their
  /// statistics; each number drawn by its own index.
  void initialize(const RandomStream& stream);

  /// Under PyTorch's names and shapes. load throws Error, naming the tensor, where one is missing, left over or of
  /// another shape; `num_batches_tracked` entries are passed over. Nothing is changed when it throws.
  StateDict state_dict() const;
  void load_state_dict(const StateDict& state);

 private:
  Device* device_;
  ParameterLayout layout_;
  DeviceArray<float> values_, gradients_, statistics_;
  DeviceArray<kernels::bf16> rounded_;  // of values_, with --precision bf16
  std::vector<bool> gradient_written_;  // in this step, by index
};

template <class T>
const T* Parameters::filters(int index) const {
  if constexpr (std::is_same_v<T, float>) {
    return value(index);
  } else {
    return rounded_.data() + layout_.specs()[index].offset;
  }
}

}  // namespace nepenthe
