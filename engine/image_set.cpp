#include "engine/image_set.h"

#include "engine/profile.h"
namespace nepenthe {

ImageSet::ImageSet(Device& device, const std::vector<std::uint8_t>& pixels, const std::vector<std::int32_t>& labels,
                   const Normalization& normalization, int side)
    : device_(&device), pixels_(device, pixels), labels_(device, labels), normalization_(normalization), side_(side) {}

ImageSet::Batch ImageSet::gather(const std::int32_t* order, const kernels::StepControl* control, int count,
                                 const std::optional<kernels::Augmentation>& augmentation) const {
  const ImageShape shape{count, side_, side_, 3};
  Batch batch{.images = Tensor(*device_, shape, device_->activation_type()),
              .labels = DeviceArray<std::int32_t>(*device_, static_cast<std::size_t>(count))};
  const ProfiledRange range(*device_, "gather");
  device_->run([&](auto& exec, auto element) {
    using T = decltype(element);
    kernels::gather<T>(exec, {.shape = shape,
                              .images = batch.images.as<T>(),
                              .batch_labels = batch.labels.data(),
                              .bytes = pixels_.data(),
                              .labels = labels_.data(),
                              .order = order,
                              .control = control,
                              .augmentation = augmentation,
                              .mean = normalization_.mean,
                              .std = normalization_.std});
  });
  return batch;
}

}  // namespace nepenthe
