#include "models/basic_block.h"

#include <fmt/format.h>

namespace nepenthe {

BasicBlock::BasicBlock(ParameterLayout& layout, const std::string& name, int in, int out, int stride)
    : conv1_(layout, name + ".conv1", in, out, 3, stride),
      norm1_(layout, name + ".bn1", out),
      conv2_(layout, name + ".conv2", out, out, 3, 1),
      norm2_(layout, name + ".bn2", out) {
  if (stride != 1 || in != out) {
    shortcut_ = Shortcut{.conv = Conv2d(layout, name + ".downsample.0", in, out, 1, stride),
                         .norm = BatchNorm2d(layout, name + ".downsample.1", out)};
  }
}

Variable BasicBlock::operator()(Pass& pass, Parameters& parameters, const Variable& x) const {
  const auto skip = [&] { return shortcut_ ? shortcut_->norm(pass, parameters, shortcut_->conv, x, false) : x; };
  if (!pass.training) {
    const Variable hidden = norm1_(pass, parameters, conv1_, x, true);
    return norm2_(pass, parameters, conv2_, hidden, true, skip());
  }
  const Variable sum = conv2_(pass, parameters, norm1_, conv1_(pass, parameters, x));
  return norm2_(pass, parameters, sum, true, skip());
}

std::int64_t BasicBlock::multiply_adds(int& side) const {
  int input_side = side;
  std::int64_t total = shortcut_ ? shortcut_->conv.multiply_adds(input_side) : 0;
  total += conv1_.multiply_adds(side);
  return total + conv2_.multiply_adds(side);
}

std::vector<BasicBlock> basic_blocks(ParameterLayout& layout, int channels, const std::vector<int>& blocks_of_stages) {
  std::vector<BasicBlock> blocks;
  int in = channels;
  for (std::size_t stage = 0; stage < blocks_of_stages.size(); ++stage) {
    const int out = channels << stage;
    for (int i = 0; i < blocks_of_stages[stage]; ++i) {
      const int stride = stage > 0 && i == 0 ? 2 : 1;
      blocks.emplace_back(layout, fmt::format("layer{}.{}", stage + 1, i), in, out, stride);
      in = out;
    }
  }
  return blocks;
}

}  // namespace nepenthe
