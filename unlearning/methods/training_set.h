// The training data as networks see it: pictures, or what their frozen backbone makes of those.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "data/dataset.h"
#include "engine/feature_set.h"
#include "engine/image_set.h"
#include "engine/objective.h"
#include "unlearning/provenance/identity.h"

namespace nepenthe {

class TrainingSet {
 public:
  TrainingSet(Device& device, const Dataset& dataset, const TransferSettings& transfer);
  /// The same for a part of its device (ImageSet), with nothing prepared.
  TrainingSet(Device& part, const TrainingSet& shared);

  /// Where the backbone is frozen, computes what that of `model` makes of these ids, in place of all before; else does
  /// nothing. Throws as FeatureSet does.
  void prepare(ModelState& model, const std::vector<std::int32_t>& ids, Observer& observer);

  /// Cross entropy on these ids, which have been prepared.
  CrossEntropy objective(std::vector<std::int32_t> ids, int batch) const;

  /// Pictures of which features have been computed.
  std::int64_t feature_passes() const { return feature_passes_; }

 private:
  ImageSet images_;
  bool freeze_backbone_;
  std::unique_ptr<FeatureSet> features_;
  std::optional<DeviceArray<std::uint8_t>> mask_;
  std::int64_t feature_passes_ = 0;
};

/// Of a training: three forward passes' worth a sample; with a frozen backbone of its head, and one of the backbone for
/// each picture of which features were computed.
std::int64_t training_multiply_adds(const Architecture& architecture, const TransferSettings& transfer,
                                    std::int64_t sample_passes, std::int64_t feature_passes);

}  // namespace nepenthe
