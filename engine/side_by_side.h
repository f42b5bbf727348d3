// Several computations at once, each in a thread and on a device of its own.
#pragma once

#include <functional>

#include "engine/device.h"
#include "engine/observer.h"

namespace nepenthe {

/// Runs compute(device, observer) `parts` times at once, each in a thread of its own, on its part of `device` (Device)
/// and with an observer of its own that passes on to `observer`; one alone runs here, on `device` itself. Returns when
/// all have ended. Once `observer` asks to stop, or one ends with an exception, all are asked to stop. Throws the first
/// exception; an Interrupted only where there is no other, for that one may be what the others were stopped for.
void side_by_side(int parts, Device& device, Observer& observer,
                  const std::function<void(Device& device, Observer& observer)>& compute);

}  // namespace nepenthe
