// A named stretch of a device's work (kernels/profile.h), from here to the end of the scope.
#pragma once

#include "engine/device.h"
#include "kernels/profile.h"

namespace nepenthe {

class ProfiledRange {
 public:
  ProfiledRange(Device& device, const char* name) : exec_(device.exec()) {
    std::visit([name](auto& exec) { kernels::begin_range(exec, name); }, exec_);
  }
  ~ProfiledRange() {
    std::visit([](auto& exec) { kernels::end_range(exec); }, exec_);
  }
  ProfiledRange(const ProfiledRange&) = delete;
  ProfiledRange& operator=(const ProfiledRange&) = delete;

 private:
  kernels::Exec& exec_;
};

}  // namespace nepenthe
