// Evaluating networks on the study's sets (STUDY §5).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "engine/image_set.h"
#include "engine/model_state.h"
#include "engine/prediction.h"

namespace nepenthe {

/// A named set of samples: all or part of the training or the test data, ids sorted.
struct EvaluationSet {
  std::string name;  // test, train, forget or retain
  bool test = false;
  std::vector<std::int32_t> ids;
};

/// The sets with these names; forget and retain by `forgotten` (sorted ids of the training data). Throws UsageError for
/// another name, or for forget and retain where nothing is forgotten.
std::vector<EvaluationSet> evaluation_sets(const std::vector<std::string>& names, const Dataset& dataset,
                                           const std::vector<std::int32_t>& forgotten);

/// Runs networks that take pictures in the same way over sets of one data set, which goes to the device once.
class Evaluator {
 public:
  Evaluator(Device& device, const Dataset& dataset, const Preprocessing& preprocessing);

  /// By set name, samples in the sets' order. Each picture is computed once, also where sets overlap. `what` is for the
  /// progress.
  std::map<std::string, Predictions> predict(ModelState& model, const std::vector<EvaluationSet>& sets,
                                             const std::string& what, Observer& observer) const;

  Device& device() const { return device_; }
  const Dataset& dataset() const { return dataset_; }

 private:
  Device& device_;
  const Dataset& dataset_;
  ImageSet train_, test_;
};

/// Labels of a set's samples.
std::vector<std::int32_t> labels_of(const EvaluationSet& set, const Dataset& dataset);

}  // namespace nepenthe
