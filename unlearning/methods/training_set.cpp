#include "unlearning/methods/training_set.h"

#include <utility>

namespace nepenthe {

TrainingSet::TrainingSet(Device& device, const Dataset& dataset, const TransferSettings& transfer)
    : images_(device, dataset.train.pixels, dataset.train.labels, preprocessing(transfer, dataset)),
      freeze_backbone_(transfer.freeze_backbone) {}

TrainingSet::TrainingSet(Device& part, const TrainingSet& shared)
    : images_(part, shared.images_), freeze_backbone_(shared.freeze_backbone_) {}

void TrainingSet::prepare(ModelState& model, const std::vector<std::int32_t>& ids, Observer& observer) {
  if (!freeze_backbone_) return;
  features_.reset();
  features_ = std::make_unique<FeatureSet>(model, images_, ids, observer);
  if (!mask_) mask_ = head_mask(model);
  feature_passes_ += std::ssize(ids);
}

CrossEntropy TrainingSet::objective(std::vector<std::int32_t> ids, int batch) const {
  if (!freeze_backbone_) return {images_, std::move(ids), batch};
  return {*features_, std::move(ids), batch, mask_->data()};
}

std::int64_t training_multiply_adds(const Architecture& architecture, const TransferSettings& transfer,
                                    std::int64_t sample_passes, std::int64_t feature_passes) {
  const std::int64_t all = architecture.multiply_adds(transfer.image_size), head = architecture.head_multiply_adds();
  if (!transfer.freeze_backbone) return 3 * all * sample_passes;
  return 3 * head * sample_passes + (all - head) * feature_passes;
}

}  // namespace nepenthe
