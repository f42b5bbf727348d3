// How fast this machine trains, measured: for saying what a request will take before it is served.
#pragma once

#include <cstdint>

#include "data/dataset.h"
#include "engine/device.h"
#include "engine/observer.h"
#include "unlearning/provenance/identity.h"
#include "unlearning/sisa_plan.h"

namespace nepenthe {

struct TrainingRate {
  double samples_per_second = 0;   // pushed through training
  double features_per_second = 0;  // pictures through a frozen backbone; 0 where none is frozen

  /// Of what is to be done, whose stages are trained with a frozen backbone or not as the rate was.
  double seconds(const SisaWork& work) const;
};

/// Trains a throwaway network for some steps of the configuration's batches, the second time timed: two seconds or so
/// on two cores.
TrainingRate measure_training_rate(const TrainingConfig& config, const Dataset& dataset, Device& device,
                                   Observer& observer);

}  // namespace nepenthe
