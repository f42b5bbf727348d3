// Serves a deletion request on a SISA run, in place.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "tools/common/program.h"
#include "tools/common/progress.h"
#include "tools/common/report.h"
#include "tools/common/sisa.h"
#include "unlearning/forget_spec.h"

using namespace nepenthe;

int main(int argc, char** argv) {
  Program program("unlearn_sisa", "Makes a SISA run forget samples, as if it had never seen them");
  std::filesystem::path run_folder, data;
  std::string forget;
  bool dry_run = false, resume = false;
  CLI::App& app = program.app();
  app.add_option("--run", run_folder, "The run's folder")->type_name("RUN")->required();
  app.add_option("--forget", forget, "The samples to forget")->type_name("SPEC");
  app.add_option("--data", data, "The run's data, where it has moved")->type_name("DIR");
  app.add_flag("--dry-run", dry_run, "Print the plan and its cost; change nothing");
  app.add_flag("--resume", resume, "Finish a request that was interrupted");

  return program.run(argc, argv, [&] {
    if (forget.empty() == !resume) throw UsageError("one of --forget SPEC and --resume is needed");
    SisaRun run = SisaRun::open(run_folder);
    const Dataset dataset = read_run_data(run, data);
    SisaWork work = run.pending();
    if (!resume && work.sample_passes() > 0) {
      throw Error(
          fmt::format("{}: the run is not finished; train_sisa --out {} --resume, or unlearn_sisa --run {} "
                      "--resume after an interrupted request, finishes it",
                      run_folder.string(), run_folder.string(), run_folder.string()));
    }
    std::vector<std::int32_t> ids;
    if (!resume) {
      ids = resolve_forget_spec(forget, forget_context(dataset, run.plan().permutation(), run.config().seed));
      work = run.plan().request(run.forgotten(), ids);
      require_something_retained(dataset.train.count(), work.forgotten);
    }
    fmt::print("{}", plan_table(work));
    auto& json = program.result();
    json["run"] = run_json(run);
    if (!resume) {
      json["request"] = {{"forget", forget}, {"samples", ids.size()}, {"newly_forgotten", work.newly_forgotten}};
    }
    json["plan"] = plan_json(work);
    if (dry_run) return;

    warn_of_another_device(program, run);
    if (!resume) run.forget(ids, {{"forget", forget}});
    ProgressBar bar(program.quiet());
    const SisaRun::Cost cost = complete_run(run, dataset, program.device(), bar);
    fmt::print("\n{}{} samples forgotten in all; {} sample passes in {}\n",
               resume ? "" : fmt::format("{} samples newly forgotten, ", grouped(work.newly_forgotten)),
               grouped(static_cast<std::int64_t>(run.forgotten().size())), grouped(cost.sample_passes),
               duration(cost.train_seconds));
    json["run"] = run_json(run);
    json["cost"] = run_cost_json(run, cost, 0);
  });
}
