#include "unlearning/methods/sisa_run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <system_error>
#include <utility>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/random.h"
#include "engine/conv_algorithms_file.h"
#include "engine/formats/safetensors.h"
#include "engine/training_state.h"
#include "models/registry.h"
#include "models/weights.h"
#include "unlearning/forget_spec.h"

namespace nepenthe {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr const char* run_file = "run.json";
constexpr const char* forgotten_file = "forgotten.json";
constexpr const char* manifest_file = "manifest.jsonl";
constexpr const char* conv_algorithms_file = "conv_algorithms.json";
constexpr const char* lineage_key = "lineage";

std::string digest(std::string_view text) { return sha256_hex(std::as_bytes(std::span(text))); }
std::string digest(std::span<const std::int32_t> ids) { return sha256_hex(std::as_bytes(ids)); }

Json to_json(const SisaConfig& config) {
  Recipe recipe = config.recipe;
  Json json{{"model", config.model},
            {"classes", config.classes},
            {"samples", config.samples},
            {"shards", config.shards},
            {"epochs", config.epochs},
            {"recipe", to_json(recipe)},
            {"seed", config.seed},
            {"precision", config.precision},
            {"data_digest", config.data_digest},
            {"weights_digest", config.weights_digest}};
  json["recipe"].erase("epochs");  // one number a stage: above
  if (!config.conv_algorithms_digest.empty()) json["conv_algorithms_digest"] = config.conv_algorithms_digest;
  return json;
}

SisaConfig config_from_json(Json json) {
  SisaConfig config;
  json.at("model").get_to(config.model);
  json.at("classes").get_to(config.classes);
  json.at("samples").get_to(config.samples);
  json.at("shards").get_to(config.shards);
  json.at("epochs").get_to(config.epochs);
  json.at("recipe")["epochs"] = 1;
  config.recipe = recipe_from_json(json.at("recipe"));
  json.at("seed").get_to(config.seed);
  json.at("precision").get_to(config.precision);
  json.at("data_digest").get_to(config.data_digest);
  json.at("weights_digest").get_to(config.weights_digest);
  config.conv_algorithms_digest = json.value("conv_algorithms_digest", "");
  return config;
}

void write_forgotten(const fs::path& folder, const std::vector<std::int32_t>& ids) {
  const Json json{{"count", ids.size()}, {"digest", digest(ids)}, {"ids", ids}};
  write_file_atomically(folder / forgotten_file, json.dump() + "\n");
}

std::vector<std::int32_t> read_forgotten(const fs::path& folder, int samples) {
  const fs::path path = folder / forgotten_file;
  const std::vector<std::byte> text = read_file(path);
  const Json json = Json::parse(as_text(text));
  const auto ids = json.at("ids").get<std::vector<std::int32_t>>();
  const bool ascending = std::ranges::adjacent_find(ids, std::ranges::greater_equal()) == ids.end();
  const bool in_range = ids.empty() || (ids.front() >= 0 && ids.back() < samples);
  if (!ascending || !in_range || json.at("digest") != digest(ids)) {
    throw Error(fmt::format("{}: the ids do not fit their digest; the run is damaged", path.string()));
  }
  return ids;
}

/// What a stage's checkpoint is made from: its predecessor, and `ids`, those of slices 1 … t that are left.
std::string next_lineage(const std::string& before, const StageWork& work, std::span<const std::int32_t> ids) {
  return digest(
      fmt::format("{} stage {} {} {}", before, work.stage, work.skipped ? "skipped" : "trained", digest(ids)));
}

std::string utc_now() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text.data();
}

/// A folder under a temporary name that gets its real one when all is done, or vanishes.
class FolderInTheMaking {
 public:
  explicit FolderInTheMaking(const fs::path& folder)
      : folder_(folder), temporary_(fmt::format("{}.partial-{}", folder.string(), getpid())) {
    fs::create_directories(temporary_);
  }
  ~FolderInTheMaking() {
    std::error_code ignored;
    fs::remove_all(temporary_, ignored);
  }
  FolderInTheMaking(const FolderInTheMaking&) = delete;
  FolderInTheMaking& operator=(const FolderInTheMaking&) = delete;
  const fs::path& path() const { return temporary_; }
  void keep() { fs::rename(temporary_, folder_); }

 private:
  fs::path folder_, temporary_;
};

/// "run" for "run/" too.
fs::path without_slash(const fs::path& folder) {
  const fs::path normal = folder.lexically_normal();
  return normal.has_filename() ? normal : normal.parent_path();
}

}  // namespace

SisaRun::SisaRun(fs::path folder, SisaConfig config)
    : folder_(std::move(folder)),
      config_(std::move(config)),
      plan_(make_permutation(config_.samples, config_.seed), config_.shards, config_.epochs) {}

SisaRun SisaRun::create(const fs::path& wanted_folder, SisaConfig config, const Dataset& dataset,
                        const std::vector<std::int32_t>& excluded, const fs::path& weights, Device& device) {
  const fs::path folder = without_slash(wanted_folder);
  if (fs::exists(folder)) {
    throw UsageError(
        fmt::format("{} exists already; another name, --resume, or removing it would be right", folder.string()));
  }
  check(config.recipe);
  config.classes = dataset.classes;
  config.samples = dataset.train.count();
  config.data_digest = dataset.train.digest;
  config.precision = name(device.precision());
  if (!weights.empty()) config.weights_digest = sha256_file(weights);
  config.conv_algorithms_digest = digest(device.given_conv_algorithms());
  ModelState model(device, make_architecture(config.model, config.classes));

  FolderInTheMaking making(folder);
  SisaRun run(making.path(), std::move(config));
  run.forgotten_ = excluded;
  run.data_folder_ = fs::absolute(dataset.folder);
  run.made_on_ = device.description();
  run.test_digest_ = dataset.test.digest;
  write_file_atomically(run.folder_ / run_file, Json{{"format", 1},
                                                     {"configuration", to_json(run.config_)},
                                                     {"permutation_digest", digest(run.plan_.permutation())},
                                                     {"test_data_digest", dataset.test.digest},
                                                     {"data_folder", run.data_folder_.string()},
                                                     {"device", run.made_on_}}
                                                        .dump(2) +
                                                    "\n");
  write_forgotten(run.folder_, excluded);
  run.record_algorithms(device);
  for (int shard = 0; shard < run.config_.shards; ++shard) {
    const RandomStream stream{
        .seed = run.config_.seed, .purpose = purpose::initialization, .shard = static_cast<std::uint32_t>(shard)};
    model.initialize(stream);
    if (!weights.empty()) load_start_weights(weights, model);
    fs::create_directory(run.folder_ / fmt::format("shard-{}", shard));
    run.save_checkpoint(shard, 0, run.lineages(shard)[0], model.state_dict());
  }
  run.append_to_manifest({{"event", "created"}, {"excluded", excluded.size()}, {"excluded_digest", digest(excluded)}});
  making.keep();
  run.folder_ = folder;
  return run;
}

SisaRun SisaRun::open(const fs::path& folder) {
  const fs::path path = folder / run_file;
  if (!fs::exists(path)) {
    throw UsageError(fmt::format("{}: no SISA run is there (no {}); train_sisa makes one", folder.string(), run_file));
  }
  try {
    const std::vector<std::byte> text = read_file(path);
    const Json json = Json::parse(as_text(text));
    if (json.at("format") != 1) throw Error(fmt::format("{}: written by another version", path.string()));
    SisaRun run(folder, config_from_json(json.at("configuration")));
    if (json.at("permutation_digest") != digest(run.plan_.permutation())) {
      throw Error(fmt::format("{}: the permutation's digest does not fit the seed; the run is damaged", path.string()));
    }
    run.data_folder_ = json.at("data_folder").get<std::string>();
    run.made_on_ = json.at("device").get<std::string>();
    run.test_digest_ = json.at("test_data_digest").get<std::string>();
    run.forgotten_ = read_forgotten(folder, run.config_.samples);
    return run;
  } catch (const UsageError& error) {  // what would be a wrong argument elsewhere is damage here
    throw Error(fmt::format("{}: damaged: {}", path.string(), error.what()));
  } catch (const nlohmann::json::exception& error) {
    throw Error(fmt::format("{}: damaged: {}", path.string(), error.what()));
  }
}

void SisaRun::check_data(const Dataset& dataset) const {
  if (dataset.train.digest != config_.data_digest) {
    throw UsageError(fmt::format("--data {}: not the data of this run (SHA-256 {}…, the run's is {}…); {} was",
                                 dataset.folder.string(), dataset.train.digest.substr(0, 12),
                                 config_.data_digest.substr(0, 12), data_folder_.string()));
  }
  if (dataset.test.digest != test_digest_) {
    throw UsageError(fmt::format("--data {}: its test part is not this run's; {} has it", dataset.folder.string(),
                                 data_folder_.string()));
  }
}

fs::path SisaRun::checkpoint(int shard, int stage) const {
  return folder_ / fmt::format("shard-{}", shard) / fmt::format("stage-{}.safetensors", stage);
}

fs::path SisaRun::state_file(int shard, int stage) const {
  return folder_ / fmt::format("shard-{}", shard) / fmt::format("stage-{}.state.safetensors", stage);
}

std::vector<std::string> SisaRun::lineages(int shard) const {
  const int slices = static_cast<int>(config_.epochs.size());
  const SisaWork all = plan_.training(forgotten_);
  std::vector<std::string> lineage{digest(fmt::format("{} shard {}", to_json(config_).dump(), shard))};
  for (int t = 1; t <= slices; ++t) {
    lineage.push_back(
        next_lineage(lineage.back(), all.shards[shard].stages[t - 1], plan_.stage_ids(shard, t, forgotten_)));
  }
  return lineage;
}

int SisaRun::valid_checkpoints(int shard) const {
  const auto lineage_of = [](const fs::path& path) -> std::string {
    try {
      return read_safetensors(path).metadata[lineage_key];
    } catch (const Error&) {  // missing or damaged: made again
      return "";
    }
  };
  int valid = 0;
  for (const std::string& lineage : lineages(shard)) {
    if (lineage_of(checkpoint(shard, valid)) != lineage) break;
    ++valid;
  }
  if (valid == 0) {
    throw Error(fmt::format("{}: missing, damaged or not of this run; the run cannot be completed",
                            checkpoint(shard, 0).string()));
  }
  return valid;
}

void SisaRun::remove_what_is_not_valid() const {
  for (int shard = 0; shard < config_.shards; ++shard) {
    const int valid = valid_checkpoints(shard);
    std::set<fs::path> kept;
    for (int stage = 0; stage < valid; ++stage) kept.insert(checkpoint(shard, stage));
    if (valid <= static_cast<int>(config_.epochs.size())) {
      const fs::path state = state_file(shard, valid);
      if (is_training_state(state, lineages(shard)[valid])) kept.insert(state);
    }
    std::vector<fs::path> stale;
    for (const fs::directory_entry& entry : fs::directory_iterator(checkpoint(shard, 0).parent_path())) {
      if (!kept.contains(entry.path())) stale.push_back(entry.path());
    }
    for (const fs::path& path : stale) fs::remove_all(path);
  }
}

std::shared_ptr<void> SisaRun::lock() {
  const fs::path path = folder_ / run_file;
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw Error(fmt::format("{}: {}", path.string(), std::strerror(errno)));
  std::shared_ptr<void> held(this, [file](void*) { ::close(file); });  // not null, so that it counts as held
  if (::flock(file, LOCK_EX | LOCK_NB) != 0) {
    throw Error(fmt::format("{}: another program works on this run; when it is done, try again", folder_.string()));
  }
  forgotten_ = read_forgotten(folder_, config_.samples);  // it may have changed since open()
  return held;
}

void SisaRun::save_checkpoint(int shard, int stage, const std::string& lineage, StateDict state) const {
  state.metadata = {{"format", "pt"}, {"model", config_.model}, {lineage_key, lineage}};
  write_safetensors(checkpoint(shard, stage), state);
}

void SisaRun::append_to_manifest(Json entry) const {
  Json line{{"time", utc_now()}};
  line.update(entry);
  const std::string text = line.dump() + "\n";
  const fs::path path = folder_ / manifest_file;
  const auto fail = [&](int error) {
    throw Error(fmt::format("{}: cannot be written: {}", path.string(), std::strerror(error)));
  };
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0) fail(errno);
  const std::shared_ptr<void> closer(nullptr, [file](void*) { ::close(file); });
  const ssize_t written = ::write(file, text.data(), text.size());
  if (written < 0) fail(errno);
  if (written != static_cast<ssize_t>(text.size())) fail(ENOSPC);
  if (::fsync(file) != 0) fail(errno);
}

bool SisaRun::manifest_ends_completed() const {
  const std::vector<std::byte> file = read_file(folder_ / manifest_file);
  std::string_view text = as_text(file);
  if (text.ends_with('\n')) text.remove_suffix(1);
  const Json last = Json::parse(text.substr(text.rfind('\n') + 1), nullptr, false);
  return last.is_object() && last.value("event", "") == "completed";
}

void SisaRun::use_recorded_algorithms(Device& device) const {
  if (fs::exists(folder_ / conv_algorithms_file))
    device.use_conv_algorithms(read_conv_algorithms(folder_ / conv_algorithms_file));
}

void SisaRun::record_algorithms(const Device& device) const {
  if (!device.conv_algorithms().empty())
    write_conv_algorithms(folder_ / conv_algorithms_file, device.conv_algorithms(), device.description());
}

SisaWork SisaRun::pending() const {
  SisaWork work = plan_.training(forgotten_);
  for (ShardWork& shard : work.shards) {
    const int valid = valid_checkpoints(shard.shard);
    std::erase_if(shard.stages, [&](const StageWork& stage) { return stage.stage < valid; });
    shard.first_stage = shard.stages.empty() ? 0 : valid;
  }
  return work;
}

void SisaRun::forget(const std::vector<std::int32_t>& ids, const Json& request) {
  if (!lock_) lock_ = lock();
  std::vector<std::int32_t> all;
  std::ranges::set_union(forgotten_, ids, std::back_inserter(all));
  require_something_retained(config_.samples, all);
  append_to_manifest({{"event", "forget"},
                      {"request", request},
                      {"ids", ids.size()},
                      {"ids_digest", digest(ids)},
                      {"forgotten_in_all", all.size()},
                      {"forgotten_digest", digest(all)}});
  write_forgotten(folder_, all);
  forgotten_ = std::move(all);
  remove_what_is_not_valid();
}

SisaRun::Cost& SisaRun::Cost::operator+=(const Cost& other) {
  sample_passes += other.sample_passes;
  train_seconds += other.train_seconds;
  return *this;
}

SisaRun::Cost SisaRun::train_stage(const StageWork& work, int shard, const std::string& lineage, const ImageSet& images,
                                   ModelState& model, Observer& observer) const {
  Cost cost;
  if (!work.skipped) {
    TrainingJob job{
        .recipe = config_.recipe,
        .stream = {.seed = config_.seed,
                   .shard = static_cast<std::uint32_t>(shard),
                   .stage = static_cast<std::uint32_t>(work.stage)},
        .what = fmt::format("shard {} of {}, stage {} of {}", shard, config_.shards, work.stage, config_.epochs.size()),
        .state_file = state_file(shard, work.stage),
        .identity = lineage};
    job.recipe.epochs = work.epochs;
    CrossEntropy objective(images, plan_.stage_ids(shard, work.stage, forgotten_), job.recipe.batch);
    const TrainingResult result = train(model, objective, job, observer);
    cost = {.sample_passes = result.sample_passes, .train_seconds = result.seconds};
  }
  save_checkpoint(shard, work.stage, lineage, model.state_dict());
  fs::remove(state_file(shard, work.stage));
  return cost;
}

SisaRun::Cost SisaRun::complete(const Dataset& dataset, Device& device, Observer& observer) {
  const std::shared_ptr<void> held = lock_ ? std::exchange(lock_, nullptr) : lock();
  check_data(dataset);
  if (config_.precision != name(device.precision())) {
    throw UsageError(fmt::format("--precision {}: the run is in {}", name(device.precision()), config_.precision));
  }
  use_recorded_algorithms(device);
  remove_what_is_not_valid();
  const SisaWork work = pending();
  ModelState model(device, make_architecture(config_.model, config_.classes));
  const ImageSet images(device, dataset.train.pixels, dataset.train.labels, dataset.normalization);
  Cost total;
  const auto cost_entry = [&](const char* event) {
    return Json{{"event", event},
                {"sample_passes", total.sample_passes},
                {"train_seconds", total.train_seconds},
                {"device", device.description()}};
  };
  bool anything = false;
  try {
    for (const ShardWork& shard : work.shards) {
      if (shard.nothing_to_do()) continue;
      anything = true;
      const std::vector<std::string> lineage = lineages(shard.shard);
      model.load_state_dict(read_safetensors(checkpoint(shard.shard, shard.first_stage - 1)));
      for (const StageWork& stage : shard.stages) {
        total += train_stage(stage, shard.shard, lineage[stage.stage], images, model, observer);
        record_algorithms(device);
      }
    }
  } catch (const Interrupted&) {
    append_to_manifest(cost_entry("interrupted"));
    throw;
  }
  if (anything || !manifest_ends_completed()) {
    Json entry = cost_entry("completed");
    entry["forgotten_in_all"] = forgotten_.size();
    entry["forgotten_digest"] = digest(forgotten_);
    for (int shard = 0; shard < config_.shards; ++shard) {
      const int slices = static_cast<int>(config_.epochs.size());
      entry["final_checkpoints"][fmt::format("shard-{}", shard)] = sha256_file(checkpoint(shard, slices));
    }
    append_to_manifest(entry);
  }
  return total;
}

std::vector<int> SisaRun::live_shards() const {
  std::vector<int> live;
  for (const ShardWork& shard : plan_.training(forgotten_).shards) {
    if (shard.samples > 0) live.push_back(shard.shard);
  }
  return live;
}

void SisaRun::load_shard(int shard, ModelState& model) const {
  const int slices = static_cast<int>(config_.epochs.size());
  if (valid_checkpoints(shard) <= slices) {
    throw Error(fmt::format("{}: shard {} is not finished; train_sisa --out {} --resume finishes it", folder_.string(),
                            shard, folder_.string()));
  }
  model.load_state_dict(read_safetensors(checkpoint(shard, slices)));
}

}  // namespace nepenthe
