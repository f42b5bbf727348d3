#include "engine/train_step.h"

#include <algorithm>

#include "engine/ops/distillation.h"
#include "engine/ops/softmax_cross_entropy.h"
#include "kernels/conv2d.h"

namespace nepenthe {
namespace {

/// While it lives, an epoch's last batch, which is smaller, takes the convolution engines of the others.
class WholeBatch {
 public:
  WholeBatch(Device& device, int size) : device_(device) { plan_for(size); }
  ~WholeBatch() { plan_for(0); }
  WholeBatch(const WholeBatch&) = delete;
  WholeBatch& operator=(const WholeBatch&) = delete;

 private:
  void plan_for(int size) {
    std::visit([size](auto& exec) { kernels::plan_as_for_batch(exec, size); }, device_.exec());
  }
  Device& device_;
};

}  // namespace

TrainStep::TrainStep(ModelState& model, Optimizer& optimizer, const Phase& phase,
                     const std::optional<kernels::Augmentation>& augmentation)
    : model_(model),
      optimizer_(optimizer),
      draws_(phase.draws.begin(), phase.draws.end()),
      augmentation_(augmentation),
      orders_(phase.draws.size()),
      controls_(model.device(), phase.draws.size()) {}

TrainStep::FixedDraw::FixedDraw(const Draw& draw)
    : samples(draw.samples),
      batch(draw.batch),
      losses(draw.losses),
      samples_serial(draw.samples->serial()),
      teacher_serial(draw.losses.teacher != nullptr ? draw.losses.teacher->serial() : 0) {}

bool TrainStep::serves(const Phase& phase) const {
  return std::ranges::equal(draws_, phase.draws, {}, {}, [](const Draw& draw) { return FixedDraw(draw); });
}

void TrainStep::begin(const Start& start) {
  Device& device = model_.device();
  for (std::size_t draw = 0; draw < orders_.size(); ++draw) {
    const std::vector<std::int32_t>& order = start.orders[draw];
    if (orders_[draw].size() != order.size()) {
      orders_[draw] = {};
      orders_[draw] = DeviceArray<std::int32_t>(device, order.size());
    }
    device.upload(orders_[draw].data(), order.data(), order.size());
  }
  put_controls(start.control, start.offsets);
}

void TrainStep::put_controls(const kernels::StepControl& control, const std::vector<std::size_t>& offsets) {
  std::vector<kernels::StepControl> controls(orders_.size(), control);
  for (std::size_t draw = 0; draw < orders_.size(); ++draw) {
    controls[draw].order = orders_[draw].data();
    controls[draw].offset = static_cast<std::int64_t>(offsets[draw]);
  }
  model_.device().upload(controls_.data(), controls.data(), controls.size());
}

void TrainStep::issue(const std::vector<int>& counts) {
  model_.begin_step();
  for (std::size_t draw = 0; draw < counts.size(); ++draw) pass_over(draw, counts[draw]);
  optimizer_.step(controls_.data());
}

void TrainStep::try_on(int count) {
  put_controls({}, std::vector<std::size_t>(orders_.size()));
  std::vector<int> counts;
  for (const DeviceArray<std::int32_t>& order : orders_) {
    counts.push_back(std::min(count, static_cast<int>(order.size())));
  }
  issue(counts);
}

void TrainStep::pass_over(std::size_t draw, int count) {
  Device& device = model_.device();
  const FixedDraw& what = draws_[draw];
  const WholeBatch whole(device, what.batch);
  kernels::StepControl* control = controls_.data() + draw;
  Tape tape;
  Pass pass{.device = device, .training = true, .tape = &tape};
  const SampleSet::Batch batch = what.samples->gather(control, count, augmentation_);
  const Variable inputs = make_variable(batch.inputs, false);
  const Variable logits = what.samples->forward(pass, model_, inputs);
  const ops::SampleScores scores =
      ops::softmax_cross_entropy(pass, logits, batch.labels.data(), what.losses.cross_entropy);
  if (what.losses.distillation != 0) {
    Pass teaching{.device = device};
    const Variable taught = what.samples->forward(teaching, *what.losses.teacher, inputs);
    ops::distillation(pass, logits, taught->value, what.losses.temperature, what.losses.distillation);
  }
  std::visit(
      [&](auto& exec) {
        kernels::tally_batch(
            exec, {.rows = count, .control = control, .losses = scores.losses.data(), .ranks = scores.ranks.data()});
      },
      device.exec());
  tape.backward();
}

std::vector<kernels::StepControl> TrainStep::totals() const {
  return model_.device().download(controls_.data(), controls_.size());
}

}  // namespace nepenthe
