#include "engine/prediction.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <new>
#include <optional>

#include "engine/base/error.h"
#include "engine/captured_steps.h"
#include "engine/memory_need.h"
#include "engine/ops/softmax_cross_entropy.h"
#include "kernels/step_control.h"

namespace nepenthe {
namespace {

/// Scores of the next `count` samples, to `all`; `control` moves on.
void predict_step(ModelState& model, const SampleSet& set, kernels::StepControl* control, int count,
                  const kernels::PredictionArrays& all) {
  Device& device = model.device();
  Pass pass{.device = device};
  const SampleSet::Batch batch = set.gather(control, count, std::nullopt);
  const Variable logits = set.forward(pass, model, make_variable(batch.inputs, false));
  const ops::SampleScores scores = ops::softmax_cross_entropy(pass, logits, batch.labels.data());
  std::visit(
      [&](auto& exec) {
        kernels::store_predictions(exec, {.shape = {.rows = count, .classes = model.architecture().classes()},
                                          .control = control,
                                          .all = all,
                                          .logits = logits->value.data(),
                                          .losses = scores.losses.data(),
                                          .ranks = scores.ranks.data()});
      },
      device.exec());
}

}  // namespace

int prediction_batch(int image_size) { return std::max(64, 512 * 32 / image_size * 32 / image_size); }

Predictions predict(ModelState& model, const SampleSet& set, const std::vector<std::int32_t>& ids, int batch,
                    const std::string& what, Observer& observer) {
  Device& device = model.device();
  const int samples = static_cast<int>(ids.size()), classes = model.architecture().classes();
  const DeviceArray<std::int32_t> order(device, ids);
  const DeviceArray<float> logits(device, ids.size() * static_cast<std::size_t>(classes)), losses(device, ids.size());
  const DeviceArray<std::int32_t> ranks(device, ids.size());
  const kernels::PredictionArrays all{.logits = logits.data(), .losses = losses.data(), .ranks = ranks.data()};
  const kernels::StepControl start{.order = order.data()};
  const DeviceArray<kernels::StepControl> control(device, std::vector{start});
  CapturedSteps captured(device);
  Glances glances(device, observer);
  Observer::Progress progress{
      .epoch = 0, .epochs = 1, .samples = 0, .samples_total = samples, .loss = 0, .accuracy = 0};
  observer.begin(what);
  for (int begin = 0; begin < samples; begin += batch) {
    if (observer.stop_requested()) throw Interrupted("interrupted during evaluation");
    const int count = std::min(batch, samples - begin);
    const auto step_on = [&](int some) { predict_step(model, set, control.data(), some, all); };
    try {
      captured.run({count}, [=] { step_on(count); });
    } catch (const std::bad_alloc&) {
      throw Error(describe_memory_need(device, "evaluating " + model.architecture().name(), count, [&](int some) {
        device.upload(control.data(), &start, 1);
        step_on(std::min(some, samples));
      }));
    }
    if (begin + count < samples && !glances.due()) continue;
    const kernels::StepControl totals = device.download(control.data(), 1)[0];
    progress.samples = totals.seen;
    progress.loss = totals.loss_sum / static_cast<double>(totals.seen);
    progress.accuracy = static_cast<double>(totals.right) / static_cast<double>(totals.seen);
    observer.progress(progress);
  }
  Predictions predictions{.classes = classes,
                          .logits = device.download(logits.data(), logits.size()),
                          .losses = device.download(losses.data(), losses.size()),
                          .ranks = device.download(ranks.data(), ranks.size())};
  // NaN ranks the true class last: a network that overflows would look like one that has forgotten everything.
  const auto wrong = std::ranges::find_if(predictions.losses, [](float loss) { return !std::isfinite(loss); });
  if (wrong != predictions.losses.end()) {
    throw Error(fmt::format("{}: the loss of record {} is {}; weights with which outputs stay finite would be right",
                            what.empty() ? model.architecture().name() : what,
                            ids[static_cast<std::size_t>(wrong - predictions.losses.begin())], *wrong));
  }
  return predictions;
}

}  // namespace nepenthe
