// The residual networks of He et al. 2015 (arXiv 1512.03385, table 1) for pictures of about 224×224, with 18 or 34
// layers: a 7×7 convolution of stride 2, norm, ReLU and a 3×3 max pooling of stride 2, then four stages of basic blocks
// with 64, 128, 256 and 512 channels, projection shortcuts where the shape changes.
#pragma once

#include <memory>

#include "engine/architecture.h"

namespace nepenthe {

/// `depth` is 18 or 34. Tensors carry torchvision's names and shapes, so that its weights load.
std::shared_ptr<const Architecture> make_resnet_imagenet(int depth, int classes);

}  // namespace nepenthe
