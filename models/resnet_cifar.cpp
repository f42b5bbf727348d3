#include "models/resnet_cifar.h"

#include <fmt/format.h>

#include <optional>
#include <vector>

#include "engine/layers.h"
#include "engine/ops/pool.h"

namespace nepenthe {
namespace {

struct Shortcut {
  Conv2d conv;
  BatchNorm2d norm;
};

/// relu(norm(conv(relu(norm(conv(x))))) + shortcut(x))
struct BasicBlock {
  Conv2d conv1;
  BatchNorm2d norm1;
  Conv2d conv2;
  BatchNorm2d norm2;
  std::optional<Shortcut> shortcut;

  BasicBlock(ParameterLayout& layout, const std::string& name, int in, int out, int stride)
      : conv1(layout, name + ".conv1", in, out, 3, stride),
        norm1(layout, name + ".bn1", out),
        conv2(layout, name + ".conv2", out, out, 3, 1),
        norm2(layout, name + ".bn2", out) {
    if (stride != 1 || in != out) {
      shortcut = Shortcut{.conv = Conv2d(layout, name + ".downsample.0", in, out, 1, stride),
                          .norm = BatchNorm2d(layout, name + ".downsample.1", out)};
    }
  }

  Variable operator()(Pass& pass, Parameters& parameters, const Variable& x) const {
    const Variable hidden = norm1(pass, parameters, conv1(pass, parameters, x), true);
    const Variable sum = conv2(pass, parameters, hidden);
    const Variable skip = shortcut ? shortcut->norm(pass, parameters, shortcut->conv(pass, parameters, x), false) : x;
    return norm2(pass, parameters, sum, true, skip);
  }

  std::int64_t multiply_adds(int& side) const {
    int input_side = side;
    std::int64_t total = shortcut ? shortcut->conv.multiply_adds(input_side) : 0;
    total += conv1.multiply_adds(side);
    return total + conv2.multiply_adds(side);
  }
};

class ResNetCifar : public Architecture {
 public:
  ResNetCifar(int depth, int classes)
      : Architecture(fmt::format("resnet{}", depth), classes),
        conv1_(layout_, "conv1", 3, 16, 3, 1),
        norm1_(layout_, "bn1", 16),
        blocks_(make_blocks(layout_, (depth - 2) / 6)),
        fc_(layout_, "fc", 64, classes, ParameterGroup::head) {}

  Variable forward(Pass& pass, Parameters& parameters, const Variable& images) const override {
    Variable x = norm1_(pass, parameters, conv1_(pass, parameters, images), true);
    for (const BasicBlock& block : blocks_) x = block(pass, parameters, x);
    return fc_(pass, parameters, ops::global_avg_pool(pass, x));
  }

  std::int64_t multiply_adds(int image_side) const override {
    int side = image_side;
    std::int64_t total = conv1_.multiply_adds(side);
    for (const BasicBlock& block : blocks_) total += block.multiply_adds(side);
    return total + fc_.multiply_adds();
  }

 private:
  static std::vector<BasicBlock> make_blocks(ParameterLayout& layout, int blocks_a_stage) {
    std::vector<BasicBlock> blocks;
    int in = 16;
    for (int stage = 0; stage < 3; ++stage) {
      const int out = 16 << stage;
      for (int i = 0; i < blocks_a_stage; ++i) {
        const int stride = stage > 0 && i == 0 ? 2 : 1;
        blocks.emplace_back(layout, fmt::format("layer{}.{}", stage + 1, i), in, out, stride);
        in = out;
      }
    }
    return blocks;
  }

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
