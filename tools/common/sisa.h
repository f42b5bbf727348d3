// What the programs that work on a SISA run share.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "tools/common/program.h"
#include "unlearning/methods/sisa_run.h"
#include "unlearning/study/run_scores.h"

namespace nepenthe {

/// Opens a run; `to_forget` where it is about to (SisaRun::open_to_forget).
SisaRun open_run(const std::filesystem::path& folder, bool to_forget = false);

/// Throws Error where the run has stages to make, with what finishes it.
void require_finished(const SisaRun& run);

/// Says on standard error what killed programs left in the run's folder, and was removed, and what is not its own.
void tell_of_leftovers(const Program& program, const SisaRun& run);

/// run.find_damage(), said on standard error.
std::vector<SisaRun::Damage> tell_of_damage(const Program& program, const SisaRun& run);

/// Puts what training started from into the program's result ("weights") and says where it came from in turn.
void tell_of_weights(Program& program, const nlohmann::ordered_json& weights);

/// The run's data: from `folder`, or from where it was when the run was made. Says on standard error what the run
/// started from, and where its class names are not recorded. Throws UsageError where it is other data.
Dataset read_run_data(Program& program, const SisaRun& run, const std::filesystem::path& folder);

/// Opens the program's device, with the instruction set that made the run where this processor has it, and says on
/// standard error where it, or its kernels, is not the one that made the run: the bits may differ then.
Device& open_device(Program& program, const SisaRun& run);

/// --parallel-shards.
void add_parallel_shards(CLI::App& app, int& parallel_shards);

/// run.carry_out(), with how to go on in the message when it is interrupted or diverges. A run that `is_new` is removed
/// where its training comes to nothing.
SisaRun::Cost carry_out(SisaRun& run, const SisaWork& work, const Dataset& dataset, Device& device, Observer& observer,
                        int parallel_shards, bool is_new = false);

nlohmann::ordered_json run_json(const SisaRun& run);
nlohmann::ordered_json run_cost_json(const SisaRun& run, const SisaRun::Cost& cost, double eval_seconds);

/// The stages to make, shard by shard, and what they cost.
std::string plan_table(const SisaWork& work);
nlohmann::ordered_json plan_json(const SisaWork& work);

/// Top-1, top-5 and loss of each shard, the majority vote and the mean posterior, on each set; and as
/// {"shards": [{"shard", "splits"}], "majority_vote", "mean_posterior"}.
std::string accuracy_table(const RunScores& scores, const std::vector<EvaluationSet>& sets);
nlohmann::ordered_json accuracy_json(const RunScores& scores, const std::vector<EvaluationSet>& sets);

/// {"shards": [{"shard", "mia", "mia_own"}], "mean", "ensemble": {the attack}}; where an attack is null, its reason
/// stands beside it under the same key with _reason.
nlohmann::ordered_json mia_json(const RunMia& mia);

}  // namespace nepenthe
