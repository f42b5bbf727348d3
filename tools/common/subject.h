// Whom eval_model, eval_mia and predict examine: a run's networks (--run), or one (--model and --weights).
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tools/common/program.h"
#include "tools/common/transfer.h"
#include "unlearning/methods/sisa_run.h"

namespace nepenthe {

struct SubjectOptions {
  std::filesystem::path run, weights, data;
  std::string model, forget;
  TransferOptions pictures;      // of one network; a run knows its own
  bool brings_pictures = false;  // the program's own: then there is no --forget, and a network needs no --data
};

/// --run --model --weights --data --forget --image-size --normalization.
void add_subject_options(Program& program, SubjectOptions& options);

/// The data, the forget set, and either a run or a network, all checked to belong together. Without data, which is said
/// on standard error, the data set is empty and has numbers as class names.
struct Subject {
  std::optional<SisaRun> run;
  std::unique_ptr<ModelState> model;
  Dataset dataset;
  Preprocessing preprocessing;
  std::vector<std::int32_t> forget;  // sorted; by --forget, else what the run has forgotten
};

/// Throws UsageError unless the options name exactly one of the two.
Subject open_subject(Program& program, const SubjectOptions& options);

}  // namespace nepenthe
