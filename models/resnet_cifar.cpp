#include "models/resnet_cifar.h"

#include <fmt/format.h>

#include <vector>

#include "engine/layers.h"
#include "engine/ops/pool.h"
#include "models/basic_block.h"

namespace nepenthe {
namespace {

class ResNetCifar : public Architecture {
 public:
  ResNetCifar(int depth, int classes)
      : Architecture(fmt::format("resnet{}", depth), classes, 32),
        conv1_(layout_, "conv1", 3, 16, 3, 1),
        norm1_(layout_, "bn1", 16),
        blocks_(basic_blocks(layout_, 16, std::vector(3, (depth - 2) / 6))),
        fc_(layout_, "fc", 64, classes, ParameterGroup::head) {}

  Variable features(Pass& pass, Parameters& parameters, const Variable& images) const override {
    Variable x = norm1_(pass, parameters, conv1_(pass, parameters, images), true);
    for (const BasicBlock& block : blocks_) x = block(pass, parameters, x);
    return ops::global_avg_pool(pass, x);
  }

  Variable classify(Pass& pass, Parameters& parameters, const Variable& features) const override {
    return fc_(pass, parameters, features);
  }

  std::int64_t multiply_adds(int image_size) const override {
    int side = image_size;
    std::int64_t total = conv1_.multiply_adds(side);
    for (const BasicBlock& block : blocks_) total += block.multiply_adds(side);
    return total + fc_.multiply_adds();
  }

  std::int64_t head_multiply_adds() const override { return fc_.multiply_adds(); }

 private:
  Conv2d conv1_;
  BatchNorm2d norm1_;
  std::vector<BasicBlock> blocks_;
  Linear fc_;
};

}  // namespace

std::shared_ptr<const Architecture> make_resnet_cifar(int depth, int classes) {
  return std::make_shared<ResNetCifar>(depth, classes);
}

}  // namespace nepenthe
