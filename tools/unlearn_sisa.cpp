// Serves a deletion request on a SISA run, in place.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/base/error.h"
#include "tools/common/output.h"
#include "tools/common/program.h"
#include "tools/common/progress.h"
#include "tools/common/sisa.h"
#include "unlearning/forget_spec.h"
#include "unlearning/study/table.h"
#include "unlearning/study/training_rate.h"

using namespace nepenthe;

namespace {

/// The recipe's options say what changes; where they are left out, the run's own counts.
void add_recipe_changes(CLI::App& app, Recipe& recipe) {
  const std::vector<CLI::Option*> before = app.get_options();
  add_recipe_options(app, recipe);
  for (CLI::Option* option : app.get_options()) {
    if (std::ranges::find(before, option) != before.end()) continue;
    option->default_str("")->description(option->get_description() + "; with --resume, of the stages left to make");
  }
}

/// run.forget(), with what finishes the request where it is accepted and something fails after that.
void request(SisaRun& run, const SisaWork& work, const std::vector<std::int32_t>& ids,
             const nlohmann::ordered_json& recorded) {
  try {
    run.forget(ids, recorded);
  } catch (const UsageError&) {
    throw;
  } catch (const std::exception& error) {
    if (run.forgotten() != work.forgotten) throw;
    throw Error(fmt::format("{}; the request is accepted and unlearn_sisa --run {} --resume finishes it", error.what(),
                            run.folder().string()));
  }
}

/// How long the work would take here, by a rate measured now.
void tell_of_time(Program& program, const SisaRun& run, const SisaWork& work, const Dataset& dataset,
                  int parallel_shards) {
  if (work.sample_passes() == 0) return;
  ProgressBar bar(program.quiet());
  const TrainingRate rate = measure_training_rate(run.config(), dataset, open_device(program, run), bar,
                                                  work.shards_at_once(parallel_shards));
  print("\nabout {} here: {} samples a second, measured now\n", duration(rate.seconds(work)),
        grouped(std::llround(rate.samples_per_second)));
  program.result()["estimate"] = {{"seconds", rate.seconds(work)}, {"samples_per_second", rate.samples_per_second}};
}

}  // namespace

int main(int argc, char** argv) {
  Program program("unlearn_sisa", "Makes a SISA run forget samples, as if it had never seen them");
  std::filesystem::path run_folder, data;
  std::string forget;
  bool dry_run = false, resume = false;
  int parallel_shards = 1;
  Recipe given;
  CLI::App& app = program.app();
  app.add_option("--run", run_folder, "The run's folder")->type_name("RUN")->required();
  app.add_option("--forget", forget, "The samples to forget")->type_name("SPEC");
  app.add_option("--data", data, "The run's data, where it has moved")->type_name("DIR");
  app.add_flag("--dry-run", dry_run, "Print the plan, its cost and about how long it takes; change nothing");
  add_parallel_shards(app, parallel_shards);
  app.add_flag("--resume", resume, "Finish a request that was interrupted");
  add_recipe_changes(app, given);

  return program.run(argc, argv, [&] {
    if (forget.empty() == !resume) throw UsageError("one of --forget SPEC and --resume is needed");
    program.places().reads_folder(run_folder, "--run", SisaRun::file_names);
    program.places().reads_folder(data, "--data", dataset_file_names);
    program.places().reads_specification(forget, "--forget");
    SisaRun run = open_run(run_folder, !resume);
    const bool knows_class_names = run.knows_class_names();
    const std::optional<Recipe> recipe = recipe_given(app, given, run.config().recipe);
    if (recipe && !resume) throw UsageError("the recipe's options go with --resume, for the stages left to make");
    const Dataset dataset = read_run_data(program, run, data);
    if (!dry_run) run.lock();
    tell_of_leftovers(program, run);
    std::vector<std::int32_t> ids;
    if (!resume) {
      require_finished(run);
      ids = resolve_forget_spec(forget, forget_context(dataset, run.plan().permutation(), run.config().seed));
    }
    const SisaWork work = run.work(ids, resume ? tell_of_damage(program, run) : std::vector<SisaRun::Damage>{});
    require_something_retained(dataset.train.count(), work.forgotten);
    if (recipe && work.sample_passes() == 0) throw UsageError("no stage is left to make by another recipe");
    print("{}", plan_table(work));
    auto& json = program.result();
    json["run"] = run_json(run);
    if (!resume) {
      json["request"] = {{"forget", forget}, {"samples", ids.size()}, {"newly_forgotten", work.newly_forgotten}};
    }
    json["plan"] = plan_json(work);
    if (dry_run) return tell_of_time(program, run, work, dataset, parallel_shards);

    // What can be refused is refused before the request is recorded.
    Device& device = open_device(program, run);
    run.require_device(device);
    if (!resume) {
      nlohmann::ordered_json recorded{{"forget", forget}};
      if (!knows_class_names) recorded["class_names_digest"] = class_names_digest(dataset);
      request(run, work, ids, recorded);
    }
    if (recipe) run.change_recipe(work, *recipe);
    ProgressBar bar(program.quiet());
    const SisaRun::Cost cost = carry_out(run, work, dataset, device, bar, parallel_shards);
    print("\n{}{} samples forgotten in all; {} sample passes in {}\n",
          resume ? "" : fmt::format("{} samples newly forgotten, ", grouped(work.newly_forgotten)),
          grouped(static_cast<std::int64_t>(run.forgotten().size())), grouped(cost.sample_passes),
          duration(cost.train_seconds));
    json["run"] = run_json(run);
    json["cost"] = run_cost_json(run, cost, 0);
  });
}
