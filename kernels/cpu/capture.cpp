#include "kernels/capture.h"

#include <utility>

namespace nepenthe::kernels {
namespace {

class CpuCapture : public Capture {
 public:
  explicit CpuCapture(std::function<void()> work) : work_(std::move(work)) {}
  void replay() override { work_(); }
  std::size_t launches() const override { return 0; }

 private:
  std::function<void()> work_;
};

}  // namespace

std::unique_ptr<Capture> capture(CpuExec&, std::function<void()> work) {
  return std::make_unique<CpuCapture>(std::move(work));
}

}  // namespace nepenthe::kernels
