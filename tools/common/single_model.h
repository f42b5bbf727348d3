// What train_model and unlearn_finetune share: one network, trained on what a specification leaves.
#pragma once

#include <filesystem>
#include <string>

#include "tools/common/program.h"
#include "tools/common/transfer.h"
#include "unlearning/methods/single_model.h"

namespace nepenthe {

struct SingleModelOptions {
  SingleModelTraining training;
  TransferOptions transfer;
  std::filesystem::path data;
  std::string left_out;     // a specification (PROGRAMS: --forget, --exclude); empty: nothing
  bool keeps_head = false;  // training.weights must have as many classes as the data
};

/// --data --model --epochs --out --resume and those of add_training_options.
void add_single_model_options(Program& program, SingleModelOptions& options);

/// Trains, evaluates on the test set, prints both and fills the program's result.
void run_single_model(Program& program, SingleModelOptions& options);

}  // namespace nepenthe
