#include "engine/feature_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <stdexcept>

#include "engine/base/error.h"
#include "engine/profile.h"

namespace nepenthe {
namespace {

/// Libraries choose algorithms, and so bits, by the size of a batch: that of features is always this one.
constexpr int feature_batch = 64;

/// `ids` and as many of them again as fill the last batch.
std::vector<std::int32_t> in_whole_batches(std::vector<std::int32_t> ids) {
  while (!ids.empty() && ids.size() % feature_batch != 0) ids.push_back(ids.front());
  return ids;
}

/// Features (feature_batch, F) of the ids from `begin` on.
Tensor features_of(ModelState& model, const ImageSet& images, const std::int32_t* order, std::size_t begin) {
  Device& device = model.device();
  const std::vector<kernels::StepControl> start{{.order = order, .offset = static_cast<std::int64_t>(begin)}};
  const DeviceArray<kernels::StepControl> control(device, start);
  const SampleSet::Batch batch = images.gather(control.data(), feature_batch, std::nullopt);
  Pass pass{.device = device};
  return model.features(pass, make_variable(batch.inputs, false))->value;
}

/// A row of features into that of its id.
void put_row(std::vector<float>& rows, std::span<const float> row, std::int32_t id, const ModelState& model) {
  if (!std::ranges::all_of(row, [](float value) { return std::isfinite(value); })) {
    throw Error(fmt::format("{}: the features of record {} are not finite; weights with which they are would be right",
                            model.architecture().name(), id));
  }
  std::ranges::copy(row, rows.begin() + std::ssize(row) * id);
}

}  // namespace

FeatureSet::FeatureSet(ModelState& model, const ImageSet& images, const std::vector<std::int32_t>& ids,
                       Observer& observer)
    : device_(&model.device()), labels_(*device_, device_->download(images.labels().data(), images.labels().size())) {
  const std::vector<std::int32_t> padded = in_whole_batches(ids);
  const DeviceArray<std::int32_t> order(*device_, padded);
  std::vector<float> rows;
  observer.begin("features of the frozen backbone");
  for (std::size_t begin = 0; begin < ids.size(); begin += feature_batch) {
    if (observer.stop_requested()) throw Interrupted("interrupted while features were computed");
    const Device::StepScope scope(*device_);
    const Tensor features = features_of(model, images, order.data(), begin);
    const std::vector<float> part = device_->download(features.data(), features.shape().size());
    width_ = features.shape().c;
    const auto width = static_cast<std::size_t>(width_);
    if (rows.empty()) {
      rows.assign(width * static_cast<std::size_t>(images.count()), std::numeric_limits<float>::quiet_NaN());
    }
    const std::size_t end = std::min(begin + feature_batch, ids.size());
    for (std::size_t i = begin; i < end; ++i) {
      put_row(rows, std::span(part).subspan((i - begin) * width, width), ids[i], model);
    }
    observer.progress({.epoch = 0,
                       .epochs = 1,
                       .samples = static_cast<std::int64_t>(end),
                       .samples_total = std::ssize(ids),
                       .loss = std::numeric_limits<double>::quiet_NaN(),
                       .accuracy = std::numeric_limits<double>::quiet_NaN()});
  }
  rows_ = DeviceArray<float>(*device_, rows);
}

SampleSet::Batch FeatureSet::gather(const kernels::StepControl* control, int count,
                                    const std::optional<kernels::Augmentation>& augmentation) const {
  if (augmentation) throw std::invalid_argument("[feature_set] features are not augmented");
  Batch batch{.inputs = Tensor(*device_, {count, 1, 1, width_}),
              .labels = DeviceArray<std::int32_t>(*device_, static_cast<std::size_t>(count))};
  const ProfiledRange range(*device_, "gather_rows");
  std::visit(
      [&](auto& exec) {
        kernels::gather_rows(exec, {.rows = count,
                                    .width = width_,
                                    .batch = batch.inputs.data(),
                                    .batch_labels = batch.labels.data(),
                                    .values = rows_.data(),
                                    .labels = labels_.data(),
                                    .control = control});
      },
      device_->exec());
  return batch;
}

DeviceArray<std::uint8_t> head_mask(const ModelState& model) {
  std::vector<std::uint8_t> mask(model.layout().parameter_floats(), 0);
  const auto [begin, end] = model.layout().range(ParameterGroup::head);
  std::fill(mask.begin() + static_cast<std::ptrdiff_t>(begin), mask.begin() + static_cast<std::ptrdiff_t>(end), 1);
  return DeviceArray<std::uint8_t>(model.device(), mask);
}

}  // namespace nepenthe
