// The numbers of a model: parameters and gradients each in one flat buffer, running statistics in a third, so that an
// optimiser is one launch, and several models at a constant stride are one more index.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/philox.h"
#include "engine/device.h"
#include "engine/formats/host_tensor.h"
#include "engine/parameter_layout.h"
#include "kernels/optimizers.h"
#include "kernels/shapes.h"

namespace nepenthe {

/// Where an op's backward writes the gradient of a parameter, and whether one is already there to add to.
struct ParameterGradient {
  float* data;
  kernels::bf16* narrow;  // not null, of filters alone: written instead of `data`
  kernels::Accumulate accumulate;
};

/// All that keeps a state from being numbers of this layout, by name: what is missing, left over, of another shape or
/// of a type that is no float; empty where it fits. `num_batches_tracked` entries are passed over. Looks at no bytes.
std::string misfit(const ParameterLayout& layout, const StateDict& state);

/// The buffers of one model.
class Parameters {
 public:
  Parameters(Device& device, ParameterLayout layout);
  Parameters(const Parameters&) = delete;
  Parameters& operator=(const Parameters&) = delete;

  const ParameterLayout& layout() const { return layout_; }
  Device& device() const { return *device_; }
  /// Who changes values says so by values_changed(), but for an optimiser, which writes rounded_values() too.
  float* values() const { return values_.data(); }
  float* statistics() const { return statistics_.data(); }
  /// All values rounded to bf16, as convolutions read their filters; null where those read fp32.
  kernels::bf16* rounded_values() const { return rounded_.data(); }
  void values_changed();

  /// The tensor with this index of specs(), of the parameters or the statistics.
  float* value(int index) const;
  /// The same parameter as convolutions read it, T being the activations' type: bf16 is the rounded copy.
  template <class T>
  const T* filters(int index) const;
  /// Before a step: forgets which gradients are written.
  void begin_step();
  /// A parameter's gradient, for one writer of this step: the first assigns, later ones add. What a convolution assigns
  /// may be bf16; the second writer of such a gradient has all of them widened, and those after it add in fp32.
  ParameterGradient gradient(int index);
  /// All gradients in fp32, for readers; what is bf16 is widened first.
  float* gradients();
  /// All gradients as they were written, for an optimiser.
  kernels::Gradients written_gradients() const;

  /// Kaiming normal (fan out) for convolutions, PyTorch's uniform for linear layers, 1 and 0 for norms and their
  /// statistics; each number drawn by its own index.
  void initialize(const RandomStream& stream);

  /// Under PyTorch's names and shapes. load throws Error where there is a misfit(), naming all of it, or where a tensor
  /// holds a number that is not finite in fp32 or a variance below 0, naming its place. Nothing is changed when it
  /// throws.
  StateDict state_dict() const;
  void load_state_dict(const StateDict& state);

 private:
  void widen_gradients();

  Device* device_;
  ParameterLayout layout_;
  DeviceArray<float> values_, gradients_, statistics_;
  DeviceArray<kernels::bf16> rounded_;           // of values_, with --precision bf16
  DeviceArray<kernels::bf16> narrow_gradients_;  // of filters, where convolutions write them in bf16
  DeviceArray<std::uint8_t> is_narrow_;          // of each Gradients::stretch: filters
  bool filters_are_narrow_ = false;              // gradients of filters are in narrow_gradients_, if anywhere
  std::vector<bool> gradient_written_;           // in this step, by index
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
