#include "models/resnet.h"

#include <fmt/format.h>

#include <vector>

#include "engine/layers.h"
#include "engine/ops/pool.h"
#include "models/basic_block.h"

namespace nepenthe {
namespace {

constexpr int pool_kernel = 3, pool_stride = 2, pool_padding = 1;

/// What comes before the stages.
struct Stem {
  int channels, kernel, stride;
  bool pool;
};

class ResNet : public Architecture {
 public:
  ResNet(int depth, int classes, int image_size, const Stem& stem, const std::vector<int>& blocks_of_stages)
      : Architecture(fmt::format("resnet{}", depth), classes, image_size),
        conv1_(layout_, "conv1", 3, stem.channels, stem.kernel, stem.stride),
        norm1_(layout_, "bn1", stem.channels),
        pool_(stem.pool),
        blocks_(basic_blocks(layout_, stem.channels, blocks_of_stages)),
        fc_(layout_, "fc", stem.channels << (blocks_of_stages.size() - 1), classes, ParameterGroup::head) {}

  Variable features(Pass& pass, Parameters& parameters, const Variable& images) const override {
    Variable x = norm1_(pass, parameters, conv1_, images, true);
    if (pool_) x = ops::max_pool(pass, x, pool_kernel, pool_stride, pool_padding);
    for (const BasicBlock& block : blocks_) x = block(pass, parameters, x);
    return ops::global_avg_pool(pass, x);
  }

  Variable classify(Pass& pass, Parameters& parameters, const Variable& features) const override {
    return fc_(pass, parameters, features);
  }

  std::int64_t multiply_adds(int image_size) const override {
    int side = image_size;
    std::int64_t total = conv1_.multiply_adds(side);
    if (pool_) side = (side + 2 * pool_padding - pool_kernel) / pool_stride + 1;
    for (const BasicBlock& block : blocks_) total += block.multiply_adds(side);
    return total + fc_.multiply_adds();
  }

  std::int64_t head_multiply_adds() const override { return fc_.multiply_adds(); }

 private:
  Conv2d conv1_;
  BatchNorm2d norm1_;
  bool pool_;
  std::vector<BasicBlock> blocks_;
  Linear fc_;
};

}  // namespace

std::shared_ptr<const Architecture> make_resnet_cifar(int depth, int classes) {
  const Stem stem{.channels = 16, .kernel = 3, .stride = 1, .pool = false};
  return std::make_shared<ResNet>(depth, classes, 32, stem, std::vector(3, (depth - 2) / 6));
}

std::shared_ptr<const Architecture> make_resnet_imagenet(int depth, int classes) {
  const Stem stem{.channels = 64, .kernel = 7, .stride = 2, .pool = true};
  return std::make_shared<ResNet>(depth, classes, 224, stem,
                                  depth == 18 ? std::vector{2, 2, 2, 2} : std::vector{3, 4, 6, 3});
}

}  // namespace nepenthe
