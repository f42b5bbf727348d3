// The device that tests of networks and training run on: the CPU, or what $NEPENTHE_TEST_DEVICE says, so that the same
// tests prove every backend.
#pragma once

#include <cstdlib>

#include "engine/device.h"

namespace nepenthe::tests {

inline DeviceSettings test_device(int threads = 0) {
  const char* kind = std::getenv("NEPENTHE_TEST_DEVICE");
  return {.kind = kind != nullptr ? kind : "cpu", .threads = threads};
}

}  // namespace nepenthe::tests
