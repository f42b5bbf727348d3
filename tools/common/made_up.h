// Pictures that stand for nothing, for measuring.
#pragma once

#include "engine/image_set.h"

namespace nepenthe {

/// `count` pictures of random bytes; the labels count through the classes.
ImageSet made_up_pictures(Device& device, int count, int classes);

}  // namespace nepenthe
