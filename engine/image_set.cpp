#include "engine/image_set.h"

#include <fmt/format.h>

#include <stdexcept>

#include "engine/profile.h"

namespace nepenthe {

ImageSet::ImageSet(Device& device, const std::vector<std::uint8_t>& pixels, const std::vector<std::int32_t>& labels,
                   const Preprocessing& preprocessing, int side)
    : device_(&device),
      pixels_(device, pixels),
      labels_(device, labels),
      preprocessing_(preprocessing),
      scale_(preprocessing.image_size / side) {
  if (scale_ < 1 || scale_ * side != preprocessing.image_size) {
    throw std::invalid_argument(
        fmt::format("[image_set] an image size of {} is no multiple of {}", preprocessing.image_size, side));
  }
}

SampleSet::Batch ImageSet::gather(const kernels::StepControl* control, int count,
                                  const std::optional<kernels::Augmentation>& augmentation) const {
  const ImageShape shape{count, image_size(), image_size(), 3};
  Batch batch{.inputs = Tensor(*device_, shape, device_->activation_type()),
              .labels = DeviceArray<std::int32_t>(*device_, static_cast<std::size_t>(count))};
  const ProfiledRange range(*device_, "gather");
  device_->run([&](auto& exec, auto element) {
    using T = decltype(element);
    kernels::gather<T>(exec, {.shape = shape,
                              .scale = scale_,
                              .images = batch.inputs.as<T>(),
                              .batch_labels = batch.labels.data(),
                              .bytes = pixels_.data(),
                              .labels = labels_.data(),
                              .control = control,
                              .augmentation = augmentation,
                              .mean = preprocessing_.normalization.mean,
                              .std = preprocessing_.normalization.std});
  });
  return batch;
}

}  // namespace nepenthe
