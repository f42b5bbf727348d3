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

/// The side of pictures for whole networks: the study's on the CPU; elsewhere smaller ones, since an emulated GPU is
/// slow.
inline int test_side() { return test_device().kind == "cpu" ? 32 : 16; }

}  // namespace nepenthe::tests
