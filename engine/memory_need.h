// What a step needs of a device's memory, for the message where there is too little.
#pragma once

#include <functional>
#include <string>

#include "engine/device.h"

namespace nepenthe {

/// One line: how much `what` ("training resnet32") with this batch needs, how much is to be had, and which batch would
/// fit; of several devices that share the memory all count. Runs step(8) and step(16), which make one such step on that
/// many samples, measures what they take, and goes on in a straight line from there. Throws std::bad_alloc where the
/// backend does not tell how much it has, as the CPU's.
std::string describe_memory_need(Device& device, const std::string& what, int batch,
                                 const std::function<void(int count)>& step);

}  // namespace nepenthe
