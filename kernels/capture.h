// Captured work: a sequence of kernels that can be run again without issuing each. On CUDA a graph.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "kernels/exec_fwd.h"

namespace nepenthe::kernels {

class Capture {
 public:
  virtual ~Capture() = default;
  /// Runs the work once more, in the Exec's order.
  virtual void replay() = 0;
  /// Kernels and copies issued by a replay; 0 where they are not counted.
  virtual std::size_t launches() const = 0;
};

/// Captures what `work` issues, without running it; the memory it uses must stay as long as the capture. Plans and
/// scratch memory must be there already, so the same work has to have run once. Throws what `work` throws.
///
/// On the CPU kernels run when called, so a replay calls `work`.
std::unique_ptr<Capture> capture(CpuExec& exec, std::function<void()> work);
std::unique_ptr<Capture> capture(CudaExec& exec, std::function<void()> work);

}  // namespace nepenthe::kernels
