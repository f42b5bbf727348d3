#include "kernels/backends.h"

namespace nepenthe::tests {

const bool emulated = true, sanitized =
#if defined(__SANITIZE_ADDRESS__)
                                true;
#else
                                false;
#endif

}  // namespace nepenthe::tests
