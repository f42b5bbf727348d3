#include "models/resnet_imagenet.h"

#include <fmt/format.h>

#include <vector>

#include "engine/layers.h"
#include "engine/ops/pool.h"
#include "models/basic_block.h"

namespace nepenthe {
namespace {

constexpr int pool_kernel = 3, pool_stride = 2, pool_padding = 1;

class ResNetImageNet : public Architecture {
 public:
  ResNetImageNet(int depth, int classes)
      : Architecture(fmt::format("resnet{}", depth), classes, 224),
        conv1_(layout_, "conv1", 3, 64, 7, 2),
        norm1_(layout_, "bn1", 64),
        blocks_(basic_blocks(layout_, 64, depth == 18 ? std::vector{2, 2, 2, 2} : std::vector{3, 4, 6, 3})),
        fc_(layout_, "fc", 512, classes, ParameterGroup::head) {}

  Variable features(Pass& pass, Parameters& parameters, const Variable& images) const override {
    Variable x = norm1_(pass, parameters, conv1_(pass, parameters, images), true);
    x = ops::max_pool(pass, x, pool_kernel, pool_stride, pool_padding);
    for (const BasicBlock& block : blocks_) x = block(pass, parameters, x);
    return ops::global_avg_pool(pass, x);
  }

  Variable classify(Pass& pass, Parameters& parameters, const Variable& features) const override {
    return fc_(pass, parameters, features);
  }

  std::int64_t multiply_adds(int image_size) const override {
    int side = image_size;
    std::int64_t total = conv1_.multiply_adds(side);
    side = (side + 2 * pool_padding - pool_kernel) / pool_stride + 1;
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

std::shared_ptr<const Architecture> make_resnet_imagenet(int depth, int classes) {
  return std::make_shared<ResNetImageNet>(depth, classes);
}

}  // namespace nepenthe
