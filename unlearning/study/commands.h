// The command lines of programs that make by hand what a study makes: each row can be had again without the study.
#pragma once

#include <string>
#include <string_view>

#include "unlearning/study/record.h"

namespace nepenthe {

/// Options of a recipe and of how pictures are taken in, as train_model, train_sisa and unlearn_finetune have them,
/// where they differ from the program's default: " --batch 32 --lr 0.002"; empty where none does.
std::string options_of(const TrainingConfig& config, const Recipe& standard);

/// A word as a POSIX shell takes it, in quotes where it needs some.
std::string shell_word(std::string_view word);

}  // namespace nepenthe
