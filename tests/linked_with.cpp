// Compiled for each program of kernel tests: their other objects are the same for all.
#include "kernels/backends.h"

namespace nepenthe::tests {

#if defined(NEPENTHE_EMULATED)
const bool emulated = true;
#else
const bool emulated = false;
#endif
#if defined(__SANITIZE_ADDRESS__)
const bool sanitized = true;
#else
const bool sanitized = false;
#endif

}  // namespace nepenthe::tests
