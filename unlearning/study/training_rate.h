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
  int parallel_shards = 1;         // that the rates are of, all together
  double samples_per_second = 0;   // pushed through training
  double features_per_second = 0;  // pictures through a frozen backbone; 0 where none is frozen

  /// Of what is to be done, whose stages are trained with a frozen backbone or not as the rate was, and as many shards
  /// at once.
  double seconds(const SisaWork& work) const;
};

/// Trains a throwaway network, or several at once, for some steps of the configuration's batches, the second time
/// timed: two seconds or so for each on two cores.
TrainingRate measure_training_rate(const TrainingConfig& config, const Dataset& dataset, Device& device,
                                   Observer& observer, int parallel_shards = 1);

}  // namespace nepenthe
