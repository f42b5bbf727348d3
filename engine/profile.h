// A named stretch of a GPU's work (kernels/profile.h), from here to the end of the scope.
#pragma once

#include "engine/device.h"
#include "kernels/profile.h"

namespace nepenthe {

class ProfiledRange {
 public:
  ProfiledRange(Device& device, const char* name) : exec_(device.exec()) {
    if (auto* const cuda = std::get_if<kernels::CudaExec>(&exec_)) kernels::begin_range(*cuda, name);
  }
  ~ProfiledRange() {
    if (auto* const cuda = std::get_if<kernels::CudaExec>(&exec_)) kernels::end_range(*cuda);
  }
  ProfiledRange(const ProfiledRange&) = delete;
  ProfiledRange& operator=(const ProfiledRange&) = delete;

 private:
  kernels::Exec& exec_;
};

}  // namespace nepenthe
