// Pictures that stand for nothing, for measuring.
#pragma once

#include "engine/image_set.h"

namespace nepenthe {

/// `count` pictures of random bytes, which networks see with this size; the labels count through the classes.
ImageSet made_up_pictures(Device& device, int count, int classes, int image_size);

}  // namespace nepenthe
