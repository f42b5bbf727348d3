#include "engine/image_set.h"

namespace nepenthe {

ImageSet::ImageSet(Device& device, const std::vector<std::uint8_t>& pixels, const std::vector<std::int32_t>& labels,
                   const kernels::Normalization& normalization, int side)
    : device_(&device), pixels_(device, pixels), labels_(device, labels), normalization_(normalization), side_(side) {}

ImageSet::Batch ImageSet::gather(const std::int32_t* ids, int count,
                                 const std::optional<kernels::Augmentation>& augmentation) const {
  const ImageShape shape{count, side_, side_, 3};
  Batch batch{.images = Tensor(*device_, shape),
              .labels = DeviceArray<std::int32_t>(*device_, static_cast<std::size_t>(count))};
  std::visit(
      [&](auto& exec) {
        kernels::gather(exec, shape, batch.images.data(), batch.labels.data(), pixels_.data(), labels_.data(), ids,
                        normalization_, augmentation);
      },
      device_->exec());
  return batch;
}

}  // namespace nepenthe
