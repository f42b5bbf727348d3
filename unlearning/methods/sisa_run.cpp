#include "unlearning/methods/sisa_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <system_error>
#include <utility>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/in_the_making.h"
#include "engine/base/random.h"
#include "engine/conv_algorithms_file.h"
#include "engine/side_by_side.h"
#include "engine/training_state.h"
#include "kernels/revision.h"
#include "models/registry.h"
#include "models/weights.h"
#include "unlearning/forget_spec.h"
#include "unlearning/provenance/origin.h"

namespace nepenthe {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

std::string permutation_digest(const SisaPlan& plan) { return sha256_hex(std::as_bytes(plan.permutation())); }

/// "run" for "run/" too.
fs::path without_slash(const fs::path& folder) {
  const fs::path normal = folder.lexically_normal();
  return normal.has_filename() ? normal : normal.parent_path();
}

}  // namespace

SisaRun::SisaRun(fs::path folder, RunFacts facts)
    : folder_(std::move(folder)),
      facts_(std::move(facts)),
      plan_(make_permutation(facts_.config.samples, facts_.config.seed), facts_.config.shards, facts_.config.epochs),
      store_(folder_, facts_.config.shards, slices(), facts_.format == 1) {}

SisaRun SisaRun::create(const fs::path& wanted_folder, TrainingConfig config, const Dataset& dataset,
                        const std::vector<std::int32_t>& excluded, const fs::path& weights, Device& device) {
  const fs::path folder = without_slash(wanted_folder);
  if (std::error_code unknown; fs::exists(fs::symlink_status(folder, unknown))) {
    throw UsageError(fmt::format("{}: exists already; another name, or removing it, would be right", folder.string()));
  }
  check(config.recipe);
  check(config.transfer, config.recipe);
  complete_config(config, dataset, weights, device);
  Json start;
  if (!weights.empty()) {
    start = describe_weights(weights);
    require_class_names(start, dataset);
  }
  ModelState model(device, make_architecture(config.model, config.classes));

  FolderInTheMaking making(folder);
  std::string identity = to_json(config).dump();
  RunFacts facts{.identity = std::move(identity),
                 .config = std::move(config),
                 .permutation_digest = {},
                 .test_data_digest = dataset.test.digest,
                 .data_folder = fs::absolute(dataset.folder),
                 .device = device.description(),
                 .weights = start.is_null() ? "" : start.dump()};
  SisaRun run(making.path(), std::move(facts));
  run.facts_.permutation_digest = permutation_digest(run.plan_);
  write_run_file(run.folder_, run.facts_, device);
  run.journal_ = std::make_shared<Journal>(run.folder_ / journal_file);
  Json created{{"event", "created"}, {"excluded", excluded.size()}, {"ids", excluded}};
  created.update(machine_json(device));
  run.record(created);
  run.record_algorithms(device);
  for (int shard = 0; shard < run.config().shards; ++shard) {
    const RandomStream stream{
        .seed = run.config().seed, .purpose = purpose::initialization, .shard = static_cast<std::uint32_t>(shard)};
    model.initialize(stream);
    if (!weights.empty()) load_start_weights(weights, model);
    run.store_.make_folder(shard);
    run.write_checkpoint(shard, 0, run.lineages(shard, excluded)[0], model);
  }
  making.keep();
  return open(folder);
}

SisaRun SisaRun::open(const fs::path& folder) {
  SisaRun run = open_to_forget(folder);
  if (const auto& lost = run.history_.lost) {
    throw Error(
        fmt::format("{}: an earlier version accepted a request and lost it before it was served: {}; making the "
                    "run forget the same samples again mends it",
                    folder.string(), lost->request));
  }
  return run;
}

SisaRun SisaRun::open_to_forget(const fs::path& folder) {
  RunFacts facts = read_run_file(folder);
  try {
    SisaRun run(folder, std::move(facts));
    if (run.facts_.permutation_digest != permutation_digest(run.plan_)) {
      throw Error("the permutation's digest does not fit the seed");
    }
    run.history_ = read_history(folder, run.facts_, read_journal(folder / journal_file));
    return run;
  } catch (const UsageError& error) {  // what would be a wrong argument elsewhere is damage here
    throw Error(fmt::format("{}: damaged: {}", (folder / run_file).string(), error.what()));
  }
}

void SisaRun::check_data(const Dataset& dataset) const {
  const auto refuse = [&](const std::string& how) {
    throw UsageError(
        fmt::format("{}: not the data of this run: {}; {} was", dataset.folder.string(), how, data_folder().string()));
  };
  if (dataset.train.digest != config().data_digest) {
    refuse(fmt::format("the training part's SHA-256 is {}…, the run's {}…", dataset.train.digest.substr(0, 12),
                       config().data_digest.substr(0, 12)));
  }
  if (dataset.test.digest != facts_.test_data_digest) refuse("the test part is another");
  const std::string& names =
      config().class_names_digest.empty() ? history_.class_names_digest : config().class_names_digest;
  if (!names.empty() && class_names_digest(dataset) != names) {
    throw UsageError(other_class_names(dataset, folder_.string()));
  }
}

void SisaRun::lock() {
  if (journal_) return;
  const auto journal = std::make_shared<Journal>(folder_ / journal_file);
  history_ = read_history(folder_, facts_, journal->lines());  // it may have changed since open()
  if (facts_.format == 1 && history_.adopted) remove_file(folder_ / forgotten_file);  // where a crash came before that
  cleared_up_ = store_.remove_abandoned();
  for (fs::path& path : remove_abandoned_files(folder_, [](auto name) { return fits(name, file_names); })) {
    cleared_up_.push_back(std::move(path));
  }
  journal_ = journal;
}

void SisaRun::adopt(const std::vector<std::int32_t>& ids, const Json& request) {
  if (history_.adopted) return;
  Json entry{{"event", "adopted"}, {"ids", ids}};
  if (!request.is_null()) entry["request"] = request;
  record(entry);
  remove_file(folder_ / forgotten_file);
}

void SisaRun::record(const Json& entry) {
  journal_->append(entry);
  history_ = read_history(folder_, facts_, journal_->lines());
}

const Recipe& SisaRun::recipe_of(int shard, int stage) const {
  const auto found = history_.recipes.find({shard, stage});
  return found == history_.recipes.end() ? config().recipe : found->second.recipe;
}

std::vector<std::string> SisaRun::lineages(int shard, const std::vector<std::int32_t>& forgotten) const {
  std::vector<std::string> lineage{sha256_hex(fmt::format("{} shard {}", facts_.identity, shard))};
  const SisaWork all = plan_.training(forgotten);
  for (const StageWork& stage : all.shards[shard].stages) {
    // What a checkpoint is made from: its predecessor, and the ids of slices 1 … t that are left.
    std::string text =
        fmt::format("{} stage {} {} {}", lineage.back(), stage.stage, stage.skipped ? "skipped" : "trained",
                    ids_digest(plan_.stage_ids(shard, stage.stage, forgotten)));
    const auto recipe = history_.recipes.find({shard, stage.stage});
    if (!stage.skipped && recipe != history_.recipes.end()) text += " recipe " + recipe->second.text;
    lineage.push_back(sha256_hex(text));
  }
  return lineage;
}

std::vector<SisaRun::Damage> SisaRun::find_damage() const {
  std::vector<Damage> damage;
  for (int shard = 0; shard < config().shards; ++shard) {
    for (int stage = 0; stage <= slices(); ++stage) {
      try {
        if (is_there(store_.state(shard, stage))) store_.check_state(shard, stage);
      } catch (const Error& error) {
        damage.push_back({.shard = shard, .stage = slices() + 1, .what = error.what()});
      }
      try {
        if (is_there(store_.checkpoint(shard, stage))) (void)store_.read(shard, stage);
      } catch (const Error& error) {
        if (stage == 0) {
          throw Error(
              fmt::format("{}; what every stage of the shard began from cannot be made again: a copy of the file "
                          "from before the damage, or a new run, would be right",
                          error.what()));
        }
        damage.push_back({.shard = shard, .stage = stage, .what = error.what()});
      }
    }
  }
  return damage;
}

SisaWork SisaRun::work(const std::vector<std::int32_t>& ids, const std::vector<Damage>& damage) const {
  SisaWork work = plan_.request(forgotten(), ids);
  const SisaWork all = plan_.training(work.forgotten);
  for (ShardWork& shard : work.shards) {
    int valid = 0;
    for (const std::string& lineage : lineages(shard.shard, work.forgotten)) {
      const auto header = store_.header(shard.shard, valid);
      if (!header || header->lineage != lineage) break;
      ++valid;
    }
    for (const Damage& damaged : damage) {
      if (damaged.shard == shard.shard) valid = std::min(valid, damaged.stage);
    }
    if (valid == 0) {
      throw Error(
          fmt::format("{}: missing, damaged or not of this run, and cannot be made again; a copy of the file "
                      "from before, or a new run, would be right",
                      checkpoint(shard.shard, 0).string()));
    }
    shard.stages = all.shards[shard.shard].stages;
    std::erase_if(shard.stages, [&](const StageWork& stage) { return stage.stage < valid; });
    shard.first_stage = shard.stages.empty() ? 0 : valid;
  }
  return work;
}

void SisaRun::remove_stale(const SisaWork& work) const {
  for (const ShardWork& shard : work.shards) {
    const int valid = shard.nothing_to_do() ? slices() + 1 : shard.first_stage;
    std::set<fs::path> kept;
    for (int stage = 0; stage < valid; ++stage) kept.insert(checkpoint(shard.shard, stage));
    const fs::path state = store_.state(shard.shard, valid);
    if (valid <= slices() && is_training_state(state, lineages(shard.shard, work.forgotten)[valid])) {
      try {
        store_.check_state(shard.shard, valid);
        kept.insert(state);
      } catch (const Error&) {  // damaged: the stage is made from its beginning
      }
    }
    store_.remove_all_but(shard.shard, kept);
  }
}

void SisaRun::use_recorded_algorithms(Device& device) const {
  if (is_there(folder_ / conv_algorithms_file))
    device.use_conv_algorithms(read_conv_algorithms(folder_ / conv_algorithms_file));
}

void SisaRun::require_device(Device& device) const {
  if (config().precision != name(device.precision())) {
    throw UsageError(fmt::format("the precision is {}, the run's is {}", name(device.precision()), config().precision));
  }
  use_recorded_algorithms(device);
}

std::vector<std::string> SisaRun::cpu_revisions() const {
  std::set<std::string> versions;
  for (int shard = 0; shard < config().shards; ++shard) {
    for (int stage = 1; stage <= slices(); ++stage) {
      if (!is_there(checkpoint(shard, stage))) continue;
      if (const auto made = history_.revisions.find({shard, stage}); made != history_.revisions.end()) {
        versions.insert(made->second);
      } else {
        versions.insert(history_.earlier_revisions.begin(), history_.earlier_revisions.end());
      }
    }
  }
  versions.erase("");
  return {versions.begin(), versions.end()};
}

Json SisaRun::weights() const {
  if (!facts_.weights.empty()) return Json::parse(facts_.weights);
  return config().weights_digest.empty() ? Json() : Json{{"sha256", config().weights_digest}};
}

bool SisaRun::discard(const SisaWork& work, bool with_states) {
  lock();
  if (this->work().sample_passes() != work.sample_passes()) return false;
  for (const ShardWork& shard : work.shards) {
    for (const StageWork& stage : shard.stages) {
      if (!with_states && is_there(store_.state(shard.shard, stage.stage))) return false;
    }
  }
  const bool gone = remove_folder_of(folder_, file_names).empty() && !is_there(folder_);
  journal_.reset();
  return gone;
}

void SisaRun::record_training(const SisaWork& work, const Device& device) {
  Json stages = Json::array();
  for (const ShardWork& shard : work.shards) {
    for (const StageWork& stage : shard.stages) {
      if (!stage.skipped) stages.push_back(Json::array({shard.shard, stage.stage}));
    }
  }
  if (stages.empty()) return;
  Json entry{{"event", "training"}, {"stages", stages}};
  std::vector<std::string> others = cpu_revisions();
  std::erase(others, kernels::cpu_revision);
  if (device.isa() && !others.empty()) entry["unlike"] = {{"kernels", others}};
  entry.update(machine_json(device));
  record(entry);
}

void SisaRun::record_algorithms(const Device& device) const {
  if (device.conv_algorithms().empty()) return;
  const fs::path file = folder_ / conv_algorithms_file;
  if (std::error_code unknown; fs::is_symlink(fs::symlink_status(file, unknown)))
    throw Error(fmt::format("{}: is a symbolic link", file.string()));
  write_conv_algorithms(file, device.conv_algorithms(), device.description());
}

void SisaRun::forget(const std::vector<std::int32_t>& ids, const Json& request) {
  lock();
  const SisaWork asked = plan_.request(forgotten(), ids);
  require_something_retained(config().samples, asked.forgotten);
  if (history_.lost && ids_digest(asked.forgotten) != history_.lost->forgotten_digest) {
    throw UsageError(fmt::format("{}: these are not the samples of the request that an earlier version lost: {}",
                                 folder_.string(), history_.lost->request));
  }
  if (history_.lost) {
    // In one line, so that there is no moment at which the request is lost again.
    adopt(asked.forgotten, request);
  } else {
    std::vector<std::int32_t> in_order = ids;
    std::ranges::sort(in_order);
    in_order.erase(std::unique(in_order.begin(), in_order.end()), in_order.end());
    adopt(forgotten());
    record({{"event", "forget"},
            {"request", request},
            {"ids", in_order},
            {"newly_forgotten", asked.newly_forgotten},
            {"forgotten_in_all", asked.forgotten.size()}});
  }
  remove_stale(work());
}

void SisaRun::change_recipe(const SisaWork& work, const Recipe& recipe) {
  lock();
  check(recipe);
  check(config().transfer, recipe);
  Json stages = Json::array();
  for (const ShardWork& shard : work.shards) {
    for (const StageWork& stage : shard.stages) {
      if (!stage.skipped) stages.push_back(Json::array({shard.shard, stage.stage}));
    }
  }
  adopt(forgotten());
  record({{"event", "recipe"}, {"stages", stages}, {"recipe", recipe_json(recipe)}});
}

void SisaRun::write_checkpoint(int shard, int stage, const std::string& lineage, const ModelState& model) const {
  // How pictures go in is not to be guessed by who takes the checkpoint alone; the plain way always goes without
  // saying.
  Json origin;
  if (config().transfer != TransferSettings{}) origin["configuration"] = Json::parse(facts_.identity);
  StateDict state = model.state_dict();
  state.metadata = {{"format", "pt"}, {"model", config().model}, {CheckpointStore::lineage_key, lineage}};
  if (!origin.is_null()) state.metadata[origin_key] = origin.dump();
  store_.write(shard, stage, std::move(state));
}

SisaRun::Cost SisaRun::prepare_shard(const ShardWork& shard, TrainingSet& data, ModelState& model,
                                     Observer& observer) const {
  const int start = shard.first_stage - 1;
  load_weights(checkpoint(shard.shard, start), store_.read(shard.shard, start), model);
  if (shard.sample_passes() == 0) return {};
  const auto began = std::chrono::steady_clock::now();
  const std::int64_t before = data.feature_passes();
  data.prepare(model, plan_.stage_ids(shard.shard, slices(), forgotten()), observer);
  return {.sample_passes = 0,
          .feature_passes = data.feature_passes() - before,
          .train_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count()};
}

SisaRun::Cost SisaRun::train_stage(const StageWork& work, int shard, const std::string& lineage,
                                   const TrainingSet& data, Trainer& trainer, Observer& observer) const {
  Cost cost;
  if (!work.skipped) {
    TrainingJob job{.recipe = recipe_of(shard, work.stage),
                    .stream = {.seed = config().seed,
                               .shard = static_cast<std::uint32_t>(shard),
                               .stage = static_cast<std::uint32_t>(work.stage)},
                    .what = fmt::format("shard {} of {}, stage {} of {}", shard, config().shards, work.stage, slices()),
                    .state_file = store_.state(shard, work.stage),
                    .identity = lineage};
    job.recipe.epochs = work.epochs;
    CheckpointStore::refuse_link(job.state_file);
    CrossEntropy objective = data.objective(plan_.stage_ids(shard, work.stage, forgotten()), job.recipe.batch);
    const TrainingResult result = trainer.run(objective, job, observer);
    cost = {.sample_passes = result.sample_passes, .feature_passes = 0, .train_seconds = result.seconds};
  }
  write_checkpoint(shard, work.stage, lineage, trainer.model());
  store_.remove_state(shard, work.stage);
  return cost;
}

SisaRun::Cost SisaRun::train_shards(const SisaWork& work, const Dataset& dataset, Device& device, Observer& observer,
                                    int parallel_shards) {
  const TrainingSet data(device, dataset, config().transfer);
  std::mutex mutex;  // of what follows, and of `device`
  Cost total;
  auto next = work.shards.begin();
  const auto take = [&]() -> const ShardWork* {
    const std::lock_guard lock(mutex);
    while (next != work.shards.end() && next->nothing_to_do()) ++next;
    return next == work.shards.end() ? nullptr : &*next++;
  };
  const auto train_some = [&](Device& own_device, Observer& own_observer) {
    ModelState model(own_device, make_architecture(config().model, config().classes));
    TrainingSet own_data(own_device, data);
    Trainer trainer(model);
    double seconds = 0;
    const auto finished = [&](const Cost& cost) {
      const std::lock_guard lock(mutex);
      seconds += cost.train_seconds;
      total.sample_passes += cost.sample_passes;
      total.feature_passes += cost.feature_passes;
      total.train_seconds = std::max(total.train_seconds, seconds);
      if (&own_device != &device) device.use_conv_algorithms(own_device.conv_algorithms());
      if (cost.sample_passes + cost.feature_passes > 0) record_algorithms(device);
    };
    while (const ShardWork* shard = take()) {
      finished(prepare_shard(*shard, own_data, model, own_observer));
      const std::vector<std::string> lineage = lineages(shard->shard, forgotten());
      for (const StageWork& stage : shard->stages) {
        finished(train_stage(stage, shard->shard, lineage[stage.stage], own_data, trainer, own_observer));
      }
    }
  };
  const auto cost_entry = [&](const char* event) {
    Json entry{{"event", event}, {"sample_passes", total.sample_passes}, {"train_seconds", total.train_seconds}};
    entry.update(machine_json(device));
    return entry;
  };
  try {
    side_by_side(work.shards_at_once(parallel_shards), device, observer, train_some);
  } catch (const Interrupted&) {
    record(cost_entry("interrupted"));
    throw;
  }
  Json entry = cost_entry("completed");
  entry["forgotten_in_all"] = forgotten().size();
  for (int shard = 0; shard < config().shards; ++shard) {
    const auto header = store_.header(shard, slices());
    entry["final_checkpoints"][fmt::format("shard-{}", shard)] = header ? header->digest : "";
  }
  record(entry);
  return total;
}

SisaRun::Cost SisaRun::complete(const Dataset& dataset, Device& device, Observer& observer, int parallel_shards) {
  lock();
  return carry_out(work(), dataset, device, observer, parallel_shards);
}

SisaRun::Cost SisaRun::carry_out(const SisaWork& work, const Dataset& dataset, Device& device, Observer& observer,
                                 int parallel_shards) {
  lock();
  struct Unlock {
    std::shared_ptr<Journal>& journal;
    ~Unlock() { journal.reset(); }
  } const unlock{journal_};
  if (work.forgotten != forgotten()) {
    throw Error(fmt::format("{}: another program has changed the run meanwhile; try again", folder_.string()));
  }
  check_data(dataset);
  require_device(device);
  if (work.nothing_to_do() && history_.completed) {
    remove_stale(work);
    return {};
  }
  adopt(forgotten());
  remove_stale(work);
  record_training(work, device);
  return train_shards(work, dataset, device, observer, parallel_shards);
}

std::vector<int> SisaRun::live_shards() const {
  std::vector<int> live;
  for (const ShardWork& shard : plan_.training(forgotten()).shards) {
    if (shard.samples > 0) live.push_back(shard.shard);
  }
  return live;
}

void SisaRun::load_shard(int shard, ModelState& model) const {
  const auto header = store_.header(shard, slices());
  if (!header || header->lineage != lineages(shard, forgotten()).back()) {
    throw Error(
        fmt::format("{}: shard {} is not finished: its last checkpoint is missing, damaged or has seen what is "
                    "forgotten",
                    folder_.string(), shard));
  }
  load_weights(checkpoint(shard, slices()), store_.read(shard, slices()), model);
}

std::vector<fs::path> SisaRun::foreign_files() const {
  std::set<fs::path> own{run_file, journal_file, conv_algorithms_file};
  if (!history_.adopted) own.insert(forgotten_file);
  for (int shard = 0; shard < config().shards; ++shard) own.insert(fmt::format("shard-{}", shard));
  std::vector<fs::path> found = store_.foreign();
  for (const fs::directory_entry& entry : list_folder(folder_)) {
    if (!own.contains(entry.path().filename())) found.push_back(entry.path());
  }
  std::ranges::sort(found);
  return found;
}

}  // namespace nepenthe
