// Gather: the pictures of a batch, from the data set's bytes to a network's input.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "engine/base/philox.h"
#include "kernels/exec.h"
#include "kernels/shapes.h"
#include "kernels/step_control.h"

namespace nepenthe::kernels {

struct Normalization {
  std::array<float, 3> mean, std;  // of values scaled to [0, 1], a channel each
};

/// Random crop out of the picture padded with `padding` black pixels (raw value 0) on each side, then a horizontal flip
/// with probability 1/2: offsets and flip of sample id come from random_bits(stream, id) — x gives the row offset and
/// y the column offset in [0, 2·padding], the top bit of z the flip. The stream's epoch is that of the StepControl.
struct Augmentation {
  RandomStream stream;
  int padding = 4;
};

/// images (N, H, W, C) in the backend's layout = normalise(augment(bytes[ids])), batch_labels (N) = labels[ids], where
/// ids (N) = order[control->offset …]. `shape.c` is 3. bytes: (samples, 3, H, W) planar as in the CIFAR files; labels:
/// (samples); order: ids below the number of samples (not checked). No augmentation: the plain picture.
void gather(CpuExec& exec, const ImageShape& shape, float* images, std::int32_t* batch_labels,
            const std::uint8_t* bytes, const std::int32_t* labels, const std::int32_t* order,
            const StepControl* control, const Normalization& normalization,
            const std::optional<Augmentation>& augmentation);
#if defined(NEPENTHE_CUDA)
/// The same; T, the activations' type, is float or bf16.
template <class T>
void gather(CudaExec& exec, const ImageShape& shape, T* images, std::int32_t* batch_labels, const std::uint8_t* bytes,
            const std::int32_t* labels, const std::int32_t* order, const StepControl* control,
            const Normalization& normalization, const std::optional<Augmentation>& augmentation);
#endif

}  // namespace nepenthe::kernels
