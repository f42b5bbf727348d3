#include "kernels/recording.h"

#include <utility>

namespace nepenthe::kernels {
namespace {

class CpuRecording : public Recording {
 public:
  explicit CpuRecording(std::function<void()> work) : work_(std::move(work)) {}
  void replay() override { work_(); }
  std::size_t launches() const override { return 0; }

 private:
  std::function<void()> work_;
};

}  // namespace

std::unique_ptr<Recording> record(CpuExec&, std::function<void()> work) {
  return std::make_unique<CpuRecording>(std::move(work));
}

}  // namespace nepenthe::kernels
