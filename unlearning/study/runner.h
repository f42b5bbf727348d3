// Makes and examines a study's experiments, each at most once: what is there already, made under the same key, is
// taken. A key is the digest of everything that decides an experiment, so that an interrupted study goes on where it
// was, and a changed one makes again only what the change touches.
//
//   made/NAME-KEY/            a run (run/) or a network (NAME.safetensors), as the programs leave them
//   records/ROW-KEY.json      what was found (unlearning/study/record.h)
//   forget/DIGEST.txt         ids of F, which commands with another seed than the training's copy and name
//
// KEY and DIGEST are the first twelve digits.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "engine/device.h"
#include "engine/observer.h"
#include "unlearning/study/record.h"

namespace nepenthe {

class StudyRunner {
 public:
  /// `experiments` are looked up by name; `data` is the data's folder as commands name it; `say` prints a line for
  /// people; runs are trained by `parallel_shards` (SisaRun::complete). All must outlive the runner. Makes the folder,
  /// and those that lead to it.
  StudyRunner(std::filesystem::path folder, const std::vector<Experiment>& experiments, const Dataset& dataset,
              std::string data, Device& device, Observer& observer, std::function<void(const std::string&)> say,
              int parallel_shards = 1);

  /// Makes the experiment, and what it goes on from, and examines it. Throws Interrupted, with everything so far kept.
  Record run(const Experiment& experiment, const Seeds& seeds, const std::string& row);

 private:
  struct Plan;
  struct Made;
  Plan plan(const Experiment& experiment, const Seeds& seeds) const;
  const Experiment& experiment_named(const std::string& name) const;
  Made make(const Plan& plan);
  Made make_network(const Plan& plan);
  Made make_run(const Plan& plan);
  void examine(const Plan& plan, const Made& made, Record& record);
  /// F for a program with this seed: a range or a fraction means the training seed's, to others the ids are given.
  static std::string forget_as_seen_by(const Plan& plan, std::uint64_t program_seed);
  std::vector<std::string> commands(const Plan& plan) const;

  std::filesystem::path folder_;
  const std::vector<Experiment>& experiments_;
  const Dataset& dataset_;
  std::string data_;
  Device& device_;
  Observer& observer_;
  std::function<void(const std::string&)> say_;
  int parallel_shards_;
};

/// The row's name: the experiment's, and the seeds where there are several triples.
std::string row_name(const Experiment& experiment, const Seeds& seeds, bool several);

/// Where two records of one row differ, one line each; times apart, which are never the same. Empty: to the bit.
std::vector<std::string> differences(const Record& a, const Record& b);

/// How many numbers and digests differences() compares.
std::int64_t values_compared(const Record& record);

}  // namespace nepenthe
