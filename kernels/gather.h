// Gather: the pictures of a batch, from the data set's bytes to a network's input.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "engine/base/philox.h"
#include "kernels/exec_fwd.h"
#include "kernels/shapes.h"
#include "kernels/step_control.h"

namespace nepenthe::kernels {

/// Random crop out of the picture padded with `padding` black pixels (raw value 0) on each side, then a horizontal flip
/// with probability 1/2: offsets and flip of sample id come from random_bits(control->stream, id) — x gives the row
/// offset and y the column offset in [0, 2·padding], the top bit of z the flip.
struct Augmentation {
  int padding = 4;
};

/// images = (enlarge(augment(bytes[id]))/255 − mean)/std, batch_labels = labels[id], for the ids from
/// control->order[control->offset] on, which are below the number of samples (not checked), where enlarge repeats each
/// pixel `scale` times in both directions (nearest neighbour). T, the activations' type, is float or bf16. Throws
/// std::invalid_argument for other than three channels, and for sides that are no multiples of `scale`.
template <class T>
struct Gather {
  ImageShape shape;            // of the batch
  int scale = 1;               // how many times larger its pictures are than those in `bytes`
  T* images;                   // (N, H, W, C) in the backend's layout
  std::int32_t* batch_labels;  // (N)
  const std::uint8_t* bytes;   // (samples, 3, H/scale, W/scale), planar as in the CIFAR files
  const std::int32_t* labels;  // (samples)
  const StepControl* control;
  std::optional<Augmentation> augmentation;  // none: the plain picture
  std::array<float, 3> mean, std;            // of values scaled to [0, 1], a channel each
};
template <class T>
void gather(CpuExec& exec, const Gather<T>& operands);
template <class T>
void gather(CudaExec& exec, const Gather<T>& operands);

/// batch = values[id], batch_labels = labels[id], for the same ids. Throws std::invalid_argument for no rows or no
/// width.
struct GatherRows {
  int rows, width;             // of the batch
  float* batch;                // (rows, width)
  std::int32_t* batch_labels;  // (rows)
  const float* values;         // (samples, width)
  const std::int32_t* labels;  // (samples)
  const StepControl* control;
};
void gather_rows(CpuExec& exec, const GatherRows& operands);
void gather_rows(CudaExec& exec, const GatherRows& operands);

/// What both backends refuse.
void check_rows(const GatherRows& operands);
void check_pictures(const ImageShape& shape, int scale);

}  // namespace nepenthe::kernels
