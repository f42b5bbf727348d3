// A model: the numbers of one architecture on a device. Several models of one architecture live side by side, as a
// teacher and its student.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "engine/architecture.h"
#include "engine/base/serial.h"
#include "engine/parameters.h"

namespace nepenthe {

class ModelState : public Parameters {
 public:
  /// Numbers undefined: initialise or load them.
  ModelState(Device& device, std::shared_ptr<const Architecture> architecture)
      : Parameters(device, architecture->layout()), architecture_(std::move(architecture)) {}

  const Architecture& architecture() const { return *architecture_; }
  /// Tells this model from any other there is or was; its numbers change, their places do not.
  std::uint64_t serial() const { return serial_.number(); }
  Variable forward(Pass& pass, const Variable& images) { return architecture_->forward(pass, *this, images); }
  Variable features(Pass& pass, const Variable& images) { return architecture_->features(pass, *this, images); }
  Variable classify(Pass& pass, const Variable& features) { return architecture_->classify(pass, *this, features); }

 private:
  std::shared_ptr<const Architecture> architecture_;
  Serial serial_;
};

}  // namespace nepenthe
