// What is found in what a study made: accuracy on the study's sets, the attack, the losses that it sees (STUDY §5), and
// accuracy over training.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "engine/device.h"
#include "engine/observer.h"
#include "unlearning/evaluation.h"
#include "unlearning/methods/sisa_run.h"
#include "unlearning/study/record.h"

namespace nepenthe {

/// What an examination is of, and by what; all references must outlive it.
struct Examination {
  const Dataset& dataset;
  Device& device;
  Observer& observer;
  const TrainingConfig& config;             // of what is examined
  const std::vector<std::int32_t>& forget;  // F, sorted
  std::uint64_t evaluation_seed = 1;
  std::string title;  // for the progress
};

/// Fill in what there is to find: `whole`, `losses`, `digests` and the seconds; of a run also `vote`, `shards` and
/// `slices`. Throw Interrupted, and Error where a file is damaged or a loss not finite.
void examine_network(const Examination& of, const std::filesystem::path& file, Record& record);
void examine_run(const Examination& of, const SisaRun& run, Record& record);

/// What a request for `forget` touches of a run that has forgotten `already`; both sorted.
RequestMap map_of_request(const SisaPlan& plan, const std::vector<std::int32_t>& already,
                          const std::vector<std::int32_t>& forget);

/// Of shard 0 after each stage, on the test set and on the stage's own samples.
std::vector<CurvePoint> curve_of_run(const Examination& of, const SisaRun& run);

/// The accuracies of a point of a curve: on the test set and on what the model was trained on (ids, sorted).
void take_accuracy(CurvePoint& point, const Evaluator& evaluator, ModelState& model,
                   std::vector<std::int32_t> trained_on, const std::string& what, Observer& observer);

}  // namespace nepenthe
