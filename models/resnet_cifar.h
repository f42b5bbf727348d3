// The residual networks of He et al. 2015 (arXiv 1512.03385, section 4.2) for 32×32 pictures: depth 6n + 2, three
// stages of n basic blocks with 16, 32 and 64 channels, projection shortcuts (1×1 convolution and norm) where the shape
// changes.
#pragma once

#include <memory>

#include "engine/architecture.h"

namespace nepenthe {

/// `depth` is 6n + 2. Tensors carry torchvision's names: conv1, bn1, layer1.0.conv1, layer2.0.downsample.0, fc …
std::shared_ptr<const Architecture> make_resnet_cifar(int depth, int classes);

}  // namespace nepenthe
