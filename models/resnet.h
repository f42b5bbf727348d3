// The residual networks of He et al. 2015 (arXiv 1512.03385), of basic blocks, with projection shortcuts (1×1
// convolution and norm) where the shape changes. Tensors carry torchvision's names and shapes: conv1, bn1,
// layer1.0.conv1, layer2.0.downsample.0, fc …
#pragma once

#include <memory>

#include "engine/architecture.h"

namespace nepenthe {

/// Section 4.2, for 32×32 pictures: `depth` is 6n + 2; a 3×3 convolution, norm, ReLU, then three stages of n blocks
/// with 16, 32 and 64 channels.
std::shared_ptr<const Architecture> make_resnet_cifar(int depth, int classes);

/// Table 1, for pictures of about 224×224: `depth` is 18 or 34; a 7×7 convolution of stride 2, norm, ReLU and a 3×3 max
/// pooling of stride 2, then four stages with 64, 128, 256 and 512 channels.
std::shared_ptr<const Architecture> make_resnet_imagenet(int depth, int classes);

}  // namespace nepenthe
