// The membership inference attack on a network, a SISA run, or given losses.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/formats/numbers.h"
#include "tools/common/options.h"
#include "tools/common/output.h"
#include "tools/common/progress.h"
#include "tools/common/sisa.h"
#include "tools/common/subject.h"
#include "unlearning/study/record.h"
#include "unlearning/study/table.h"

using namespace nepenthe;

namespace {

std::string row_value(const MiaOutcome& outcome) {
  return outcome.mia ? fmt::format("{:.4f} ± {:.4f}", outcome.mia->mean, outcome.mia->standard_error) : "–";
}

Table attack_table() {
  return Table({"", "MIA", "AUC", "95 % interval", "TPR at 0.1 %", "at 1 % FPR", "samples a side"});
}

void add_attack(Table& table, const std::string& who, const MiaOutcome& outcome) {
  if (!outcome.mia) {
    table.add({who, "–", "–", "–", "–", "–", "–"});
    return;
  }
  const Mia& mia = *outcome.mia;
  table.add({who, row_value(outcome), decimals(mia.auc, 4),
             fmt::format("{:.4f} – {:.4f}", mia.interval[0], mia.interval[1]), percent(mia.tpr_at_fpr.at("0.001")),
             percent(mia.tpr_at_fpr.at("0.01")), grouped(mia.members)});
}

void print_reason(const std::string& who, const MiaOutcome& outcome) {
  if (!outcome.mia) print("{}: no attack: {}\n", who, outcome.reason);
}

void attack_one(Program& program, const MiaOutcome& outcome) {
  Table table = attack_table();
  add_attack(table, "attack", outcome);
  print("{}", table.text());
  print_reason("attack", outcome);
  program.result()["mia"] = to_json(outcome);
  if (!outcome.mia) program.result()["mia_reason"] = outcome.reason;
}

void attack_subject(Program& program, const SubjectOptions& options, const MiaSettings& settings) {
  const Subject subject = open_subject(program, options);
  if (subject.forget.empty()) throw UsageError("--forget SPEC is needed: the attack's members");
  const std::vector<EvaluationSet> sets = evaluation_sets({"forget", "test"}, subject.dataset, subject.forget);
  ProgressBar bar(program.quiet());
  const Evaluator evaluator(program.device(), subject.dataset, subject.preprocessing);
  auto& json = program.result();
  json["forget"] = subject.forget.size();
  if (!subject.run) {
    const auto predictions = evaluator.predict(*subject.model, sets, subject.model->architecture().name(), bar);
    attack_one(program, membership_inference(predictions.at("forget").losses, predictions.at("test").losses, settings));
    return;
  }
  const RunScores scores = score_run(*subject.run, evaluator, sets, bar);
  const RunMia mia = attack_run(*subject.run, scores, sets[0], settings);
  Table table = attack_table();
  for (const RunMia::Shard& shard : mia.shards) {
    add_attack(table, fmt::format("shard {} on the whole set", shard.shard), shard.whole);
  }
  table.add_rule();
  for (const RunMia::Shard& shard : mia.shards) {
    add_attack(table, fmt::format("shard {} on its own part", shard.shard), shard.own);
  }
  table.add_rule();
  table.add({"mean of the shards", decimals(mia.mean, 4)});
  add_attack(table, "ensemble (mean posterior)", mia.ensemble);
  print("{}", table.text());
  for (const RunMia::Shard& shard : mia.shards) {
    print_reason(fmt::format("shard {} on the whole set", shard.shard), shard.whole);
    print_reason(fmt::format("shard {} on its own part", shard.shard), shard.own);
  }
  json["run"] = run_json(*subject.run);
  json.update(mia_json(mia));
}

}  // namespace

int main(int argc, char** argv) {
  Program program("eval_mia", "The membership inference attack: can losses tell the forget set from test pictures?");
  SubjectOptions options;
  add_subject_options(program, options);
  std::filesystem::path member_losses, nonmember_losses;
  MiaSettings settings;
  CLI::App& app = program.app();
  app.add_option("--member-losses", member_losses, "Attack these losses: .npy, or one number a line")
      ->type_name("FILE");
  app.add_option("--nonmember-losses", nonmember_losses, "Losses of samples never seen")->type_name("FILE");
  add_whole_number(app, "--splits", settings.splits, 2, "Splits of the cross validation");

  return program.run(argc, argv, [&] {
    settings.seed = program.seed();
    program.places().reads(member_losses, "--member-losses");
    program.places().reads(nonmember_losses, "--nonmember-losses");
    if (member_losses.empty() != nonmember_losses.empty()) {
      throw UsageError("--member-losses and --nonmember-losses are needed together");
    }
    if (member_losses.empty()) {
      attack_subject(program, options, settings);
    } else if (options.run.empty() && options.model.empty() && options.weights.empty()) {
      attack_one(program, membership_inference(read_numbers(member_losses), read_numbers(nonmember_losses), settings));
    } else {
      throw UsageError("--member-losses goes without --run, --model and --weights");
    }
  });
}
