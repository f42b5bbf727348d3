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

class ResNetCifar : public Network {
 public:
  ResNetCifar(Device& device, int depth, int classes) : ResNetCifar(device, depth, classes, ParameterLayout()) {}

  Variable forward(Pass& pass, const Variable& images) override {
    Variable x = norm1_(pass, parameters_, conv1_(pass, parameters_, images), true);
    for (const BasicBlock& block : blocks_) x = block(pass, parameters_, x);
    return fc_(pass, parameters_, ops::global_avg_pool(pass, x));
  }

  std::int64_t multiply_adds(int image_side) const override {
    int side = image_side;
    std::int64_t total = conv1_.multiply_adds(side);
    for (const BasicBlock& block : blocks_) total += block.multiply_adds(side);
    return total + fc_.multiply_adds();
  }

  const std::string& architecture() const override { return architecture_; }
  int classes() const override { return classes_; }
  Parameters& parameters() override { return parameters_; }

 private:
  // The layers fill the layout while they are built, before the buffers are made from it.
  ResNetCifar(Device& device, int depth, int classes, ParameterLayout layout)
      : architecture_(fmt::format("resnet{}", depth)),
        classes_(classes),
        conv1_(layout, "conv1", 3, 16, 3, 1),
        norm1_(layout, "bn1", 16),
        blocks_(make_blocks(layout, (depth - 2) / 6)),
        fc_(layout, "fc", 64, classes),
        parameters_(device, std::move(layout)) {}

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

  std::string architecture_;
  int classes_;
  Conv2d conv1_;
  BatchNorm2d norm1_;
  std::vector<BasicBlock> blocks_;
  Linear fc_;
  Parameters parameters_;
};

}  // namespace

std::unique_ptr<Network> make_resnet_cifar(Device& device, int depth, int classes) {
  return std::make_unique<ResNetCifar>(device, depth, classes);
}

}  // namespace nepenthe
