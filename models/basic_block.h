// The block that all our residual networks are made of (He et al. 2015, arXiv 1512.03385, section 3), and its stages.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/layers.h"

namespace nepenthe {

/// relu(norm(conv(relu(norm(conv(x))))) + shortcut(x)): 3×3 convolutions, the first with the stride; the shortcut is
/// x itself, or a 1×1 convolution and norm where the shape changes. Names are torchvision's: conv1, bn1, conv2, bn2,
/// downsample.0, downsample.1.
class BasicBlock {
 public:
  BasicBlock(ParameterLayout& layout, const std::string& name, int in, int out, int stride);
  Variable operator()(Pass& pass, Parameters& parameters, const Variable& x) const;
  /// Multiply-adds of one image whose input has the side `side`, which becomes the output's.
  std::int64_t multiply_adds(int& side) const;

 private:
  struct Shortcut {
    Conv2d conv;
    BatchNorm2d norm;
  };

  Conv2d conv1_;
  BatchNorm2d norm1_;
  Conv2d conv2_;
  BatchNorm2d norm2_;
  std::optional<Shortcut> shortcut_;
};

/// layer1.0, layer1.1, …, layer2.0, …: stages of so many blocks each. The first has `channels`, as the input has, and
/// keeps its sides; each later one has twice the channels of the one before and half its sides.
std::vector<BasicBlock> basic_blocks(ParameterLayout& layout, int channels, const std::vector<int>& blocks_of_stages);

}  // namespace nepenthe
