#include "unlearning/study/record.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/formats/json_fields.h"

namespace nepenthe {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
constexpr int most_int = std::numeric_limits<int>::max();

constexpr std::array methods{std::pair{Method::weights, "weights"}, std::pair{Method::training, "training"},
                             std::pair{Method::fine_tuning, "fine_tuning"}, std::pair{Method::sisa, "sisa"},
                             std::pair{Method::unlearning, "unlearning"}};

Method method_of(const std::string& text) {
  for (const auto& [method, word] : methods) {
    if (text == word) return method;
  }
  throw Error(fmt::format("\"method\" is \"{}\", which there is not", text));
}

Json finite(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }
Json optional(const std::optional<double>& value) { return value ? finite(*value) : Json(nullptr); }

double number_or_nan(const Json& json, std::string_view key) {
  return member(json, key).is_null() ? std::numeric_limits<double>::quiet_NaN() : number(json, key);
}
std::optional<double> optional_number(const Json& json, std::string_view key) {
  return member(json, key).is_null() ? std::nullopt : std::optional(number(json, key));
}
int count(const Json& json, std::string_view key) { return static_cast<int>(whole_number(json, key, 0, most_int)); }

const Json& list(const Json& json, std::string_view key) {
  const Json& values = member(json, key);
  if (!values.is_array())
    throw Error(fmt::format("\"{}\" is a JSON {}; a list would be right", key, values.type_name()));
  return values;
}

std::vector<double> numbers(const Json& json, std::string_view key) {
  std::vector<double> values;
  for (const Json& value : list(json, key)) {
    if (!value.is_number())
      throw Error(fmt::format("\"{}\" holds a JSON {}; numbers would be right", key, value.type_name()));
    values.push_back(value.get<double>());
  }
  return values;
}

std::vector<int> ints(const Json& json, std::string_view key) {
  const auto values = whole_numbers(json, key, 0, most_int);
  return {values.begin(), values.end()};
}

std::vector<std::string> texts(const Json& json, std::string_view key) {
  std::vector<std::string> values;
  for (const Json& value : list(json, key)) {
    if (!value.is_string())
      throw Error(fmt::format("\"{}\" holds a JSON {}; texts would be right", key, value.type_name()));
    values.push_back(value.get<std::string>());
  }
  return values;
}

Metrics metrics_from_json(const Json& json) {
  return {.count = whole_number(json, "count", 0, most),
          .top1 = number_or_nan(json, "top1"),
          .top5 = number_or_nan(json, "top5"),
          .loss = optional_number(json, "loss")};
}

void put_attack(Json& json, const std::string& key, const MiaOutcome& outcome) {
  json[key] = to_json(outcome);
  if (!outcome.mia) json[key + "_reason"] = outcome.reason;
}

MiaOutcome attack_from_json(const Json& json, const std::string& key) {
  const Json& mia = member(json, key);
  if (mia.is_null()) return {.mia = {}, .reason = text(json, key + "_reason")};
  const std::vector<double> interval = numbers(mia, "interval");
  if (interval.size() != 2) throw Error("\"interval\": two numbers would be right");
  const Json& rates = member(mia, "tpr_at_fpr");
  std::map<std::string, double> tpr_at_fpr;
  for (const auto& [fpr, tpr] : rates.items()) tpr_at_fpr[fpr] = number(rates, fpr);
  return {.mia = Mia{.mean = number(mia, "mean"),
                     .standard_error = number(mia, "standard_error"),
                     .interval = {interval[0], interval[1]},
                     .scores = numbers(mia, "scores"),
                     .auc = number(mia, "auc"),
                     .tpr_at_fpr = tpr_at_fpr,
                     .members = count(mia, "members"),
                     .nonmembers = count(mia, "nonmembers")},
          .reason = {}};
}

Json examined_json(const Examined& examined) {
  Json sets = Json::object();
  for (const auto& [set, metrics] : examined.sets) sets[set] = to_json(metrics);
  Json json{{"who", examined.who}, {"splits", sets}};
  put_attack(json, "mia", examined.attack);
  put_attack(json, "mia_own", examined.own);
  return json;
}

Examined examined_from_json(const Json& json) {
  Examined examined{
      .who = text(json, "who"), .attack = attack_from_json(json, "mia"), .own = attack_from_json(json, "mia_own")};
  for (const auto& [set, metrics] : member(json, "splits").items()) examined.sets[set] = metrics_from_json(metrics);
  return examined;
}

Json experiment_json(const Experiment& experiment) {
  return {{"name", experiment.name},
          {"title", experiment.title},
          {"method", name(experiment.method)},
          {"configuration", to_json(experiment.config)},
          {"weights", experiment.weights.filename().string()},
          {"from", experiment.from},
          {"forget", experiment.forget},
          {"without_forget", experiment.without_forget},
          {"curve", experiment.curve},
          {"ceiling", experiment.ceiling},
          {"remark", experiment.remark}};
}

Experiment experiment_from_json(const Json& json) {
  return {.name = text(json, "name"),
          .title = text(json, "title"),
          .method = method_of(text(json, "method")),
          .config = config_from_json(member(json, "configuration")),
          .weights = text(json, "weights"),
          .from = text(json, "from"),
          .forget = text(json, "forget"),
          .without_forget = truth(json, "without_forget"),
          .curve = truth(json, "curve"),
          .ceiling = text(json, "ceiling"),
          .remark = text(json, "remark")};
}

Json map_json(const RequestMap& map) {
  Json shards = Json::array();
  for (const RequestMap::Shard& shard : map.shards) {
    shards.push_back({{"samples", shard.samples},
                      {"forgotten", shard.forgotten},
                      {"first_stage", shard.first_stage},
                      {"trained", shard.trained},
                      {"skipped", shard.skipped}});
  }
  return shards;
}

RequestMap map_from_json(const Json& json, std::string_view key) {
  RequestMap map;
  for (const Json& shard : list(json, key)) {
    map.shards.push_back({.samples = ints(shard, "samples"),
                          .forgotten = ints(shard, "forgotten"),
                          .first_stage = count(shard, "first_stage"),
                          .trained = ints(shard, "trained"),
                          .skipped = ints(shard, "skipped")});
  }
  return map;
}

Json curve_json(const std::vector<CurvePoint>& curve) {
  Json points = Json::array();
  for (const CurvePoint& point : curve) points.push_back(to_json(point));
  return points;
}

Json cost_estimate_json(const CostEstimate& cost) {
  return {{"shards", cost.shards},
          {"slices", cost.slices},
          {"epochs", cost.epochs},
          {"requests", cost.requests},
          {"training_passes", cost.training_passes},
          {"request_passes", cost.request_passes},
          {"draws", cost.draws},
          {"shards_touched", cost.shards_touched},
          {"formula_shards", cost.formula_shards},
          {"formula_passes", optional(cost.formula_passes)}};
}

CostEstimate cost_estimate_from_json(const Json& json) {
  return {.shards = count(json, "shards"),
          .slices = count(json, "slices"),
          .epochs = count(json, "epochs"),
          .requests = count(json, "requests"),
          .training_passes = whole_number(json, "training_passes", 0, most),
          .request_passes = number(json, "request_passes"),
          .draws = count(json, "draws"),
          .shards_touched = number(json, "shards_touched"),
          .formula_shards = number(json, "formula_shards"),
          .formula_passes = optional_number(json, "formula_passes")};
}

}  // namespace

std::string name(Method method) {
  return std::ranges::find(methods, method, &decltype(methods)::value_type::first)->second;
}

Json to_json(const Metrics& metrics) {
  return {{"count", metrics.count},
          {"top1", finite(metrics.top1)},
          {"top5", finite(metrics.top5)},
          {"loss", optional(metrics.loss)}};
}

Json to_json(const MiaOutcome& outcome) {
  if (!outcome.mia) return nullptr;
  const Mia& mia = *outcome.mia;
  return {{"mean", mia.mean},         {"standard_error", mia.standard_error},
          {"interval", mia.interval}, {"scores", mia.scores},
          {"auc", mia.auc},           {"tpr_at_fpr", mia.tpr_at_fpr},
          {"members", mia.members},   {"nonmembers", mia.nonmembers}};
}

Json to_json(const CurvePoint& point) {
  return {{"epoch", point.epoch},           {"sample_passes", point.sample_passes}, {"train_top1", point.train_top1},
          {"train_top5", point.train_top5}, {"test_top1", point.test_top1},         {"test_top5", point.test_top5}};
}

CurvePoint curve_point_from_json(const Json& json) {
  return {.epoch = count(json, "epoch"),
          .sample_passes = whole_number(json, "sample_passes", 0, most),
          .train_top1 = number(json, "train_top1"),
          .train_top5 = number(json, "train_top5"),
          .test_top1 = number(json, "test_top1"),
          .test_top5 = number(json, "test_top5")};
}

Json to_json(const StudyCost& cost) {
  return {{"sample_passes", cost.sample_passes},
          {"macs", cost.multiply_adds},
          {"train_seconds", optional(cost.train_seconds)},
          {"eval_seconds", cost.eval_seconds},
          {"attack_seconds", cost.attack_seconds}};
}

StudyCost study_cost_from_json(const Json& json) {
  return {.sample_passes = whole_number(json, "sample_passes", 0, most),
          .multiply_adds = whole_number(json, "macs", 0, most),
          .train_seconds = optional_number(json, "train_seconds"),
          .eval_seconds = number(json, "eval_seconds"),
          .attack_seconds = number(json, "attack_seconds")};
}

Json to_json(const Record& record) {
  Json json{{"row", record.row},
            {"experiment", experiment_json(record.experiment)},
            {"seeds",
             {{"training", record.seeds.training},
              {"unlearning", record.seeds.unlearning},
              {"evaluation", record.seeds.evaluation}}},
            {"key", record.key},
            {"commands", record.commands},
            {"digests", record.digests},
            {"forgotten", record.forgotten},
            {"cost", to_json(record.cost)},
            {"whole", examined_json(record.whole)},
            {"majority_vote", record.vote ? examined_json(*record.vote) : Json(nullptr)}};
  Json shards = Json::array(), slices = Json::array();
  for (const Examined& shard : record.shards) shards.push_back(examined_json(shard));
  for (const Metrics& slice : record.slices) slices.push_back(to_json(slice));
  json["shards"] = shards;
  json["slices"] = slices;
  json["map"] = record.map ? map_json(*record.map) : Json(nullptr);
  json["curve"] = curve_json(record.curve);
  json["losses"] = {{"edges", record.losses.edges},
                    {"forget", record.losses.forget},
                    {"test", record.losses.test},
                    {"fpr", record.losses.fpr},
                    {"tpr", record.losses.tpr}};
  return json;
}

Record record_from_json(const Json& json) {
  const Json& seeds = member(json, "seeds");
  const Json& losses = member(json, "losses");
  Record record{.row = text(json, "row"),
                .experiment = experiment_from_json(member(json, "experiment")),
                .seeds = {.training = seed_number(seeds, "training"),
                          .unlearning = seed_number(seeds, "unlearning"),
                          .evaluation = seed_number(seeds, "evaluation")},
                .key = text(json, "key"),
                .commands = texts(json, "commands"),
                .forgotten = whole_number(json, "forgotten", 0, most),
                .whole = examined_from_json(member(json, "whole")),
                .losses = {.edges = numbers(losses, "edges"),
                           .forget = whole_numbers(losses, "forget", 0, most),
                           .test = whole_numbers(losses, "test", 0, most),
                           .fpr = numbers(losses, "fpr"),
                           .tpr = numbers(losses, "tpr")},
                .cost = study_cost_from_json(member(json, "cost"))};
  const Json& digests = member(json, "digests");
  for (const auto& [file, digest] : digests.items()) record.digests[file] = text(digests, file);
  if (const Json& vote = member(json, "majority_vote"); !vote.is_null()) record.vote = examined_from_json(vote);
  for (const Json& shard : list(json, "shards")) record.shards.push_back(examined_from_json(shard));
  for (const Json& slice : list(json, "slices")) record.slices.push_back(metrics_from_json(slice));
  if (!member(json, "map").is_null()) record.map = map_from_json(json, "map");
  for (const Json& point : list(json, "curve")) record.curve.push_back(curve_point_from_json(point));
  return record;
}

Json to_json(const StudyRecord& study) {
  Json json{{"preset", study.preset},
            {"version", study.version},
            {"command", study.command},
            {"data",
             {{"name", study.data_name},
              {"train_digest", study.train_digest},
              {"test_digest", study.test_digest},
              {"samples", study.samples},
              {"test_samples", study.test_samples},
              {"classes", study.classes}}},
            {"device", study.device},
            {"precision", study.precision},
            {"libraries", study.libraries},
            {"rate", {{"model", study.rate_model}, {"samples_per_second", study.samples_per_second}}}};
  Json records = Json::array(), costs = Json::array();
  for (const Record& record : study.records) records.push_back(to_json(record));
  for (const CostEstimate& cost : study.costs) costs.push_back(cost_estimate_json(cost));
  json["records"] = records;
  json["costs"] = costs;
  return json;
}

StudyRecord study_from_json(const Json& json) {
  const Json& data = member(json, "data");
  const Json& rate = member(json, "rate");
  StudyRecord study{.preset = text(json, "preset"),
                    .version = text(json, "version"),
                    .command = text(json, "command"),
                    .data_name = text(data, "name"),
                    .train_digest = text(data, "train_digest"),
                    .test_digest = text(data, "test_digest"),
                    .samples = count(data, "samples"),
                    .test_samples = count(data, "test_samples"),
                    .classes = count(data, "classes"),
                    .device = text(json, "device"),
                    .precision = text(json, "precision"),
                    .libraries = text(json, "libraries"),
                    .rate_model = text(rate, "model"),
                    .samples_per_second = number(rate, "samples_per_second")};
  for (const Json& record : list(json, "records")) study.records.push_back(record_from_json(record));
  for (const Json& cost : list(json, "costs")) study.costs.push_back(cost_estimate_from_json(cost));
  return study;
}

}  // namespace nepenthe
